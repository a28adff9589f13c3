"""The default family in ONNX: exported parts, and an engine that makes sounds without torch."""
