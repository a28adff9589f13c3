"""Does the best of several tries fit its text better? ESC-10 prompts, judged by YAMNet.

    python recipes/evaluate_best_of.py [--model BUNDLE] [--captions 4] [--seeds 3] [--best-of 4]

The first captions of each of the ten classes are made with some seeds, several tries each, as
`soundleap generate --best-of` makes them. Kept tries are judged by YAMNet, which neither the
ranking model nor the sounds' model was trained with. Prints a row for each number of tries.
"""

from __future__ import annotations

import argparse

import numpy as np

from soundleap.audio.io import at_rate
from soundleap.data.captions import read_captions
from soundleap.evaluation.embedders.yamnet import YamnetEmbedder
from soundleap.evaluation.tags import ESC10, ESC10_ALIASES, TagClassifier, tag_accuracy
from soundleap.generator import Generator
from soundleap.ranking import Ranker, candidate_seeds
from soundleap.requests import Request


def esc10_prompts(most: int) -> list[tuple[str, str]]:
    """Give the first reviewed captions of each of the ten classes with their class."""
    rows = [row for row in read_captions().values() if row.source == "esc10"]
    return [
        (text, ESC10_ALIASES.get(row.stem, row.stem))
        for row in rows
        for text in row.captions[:most]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--captions", type=int, default=4, help="of each class, 24 at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--best-of", type=int, default=4)
    options = parser.parse_args()
    prompts = esc10_prompts(options.captions)
    takes = [(text, label, seed) for text, label in prompts for seed in range(options.seeds)]
    generator, ranker, judge = Generator(options.model), Ranker(), YamnetEmbedder()
    classifier = TagClassifier(ESC10, judge.class_names)
    scores = np.zeros((len(takes), options.best_of))
    told = np.zeros((len(takes), options.best_of, len(ESC10)))
    for row, (text, _, seed) in enumerate(takes):
        tries = [Request(text, seed=own) for own in candidate_seeds(seed, options.best_of)]
        for number, result in generator.stream(tries):
            scores[row, number] = ranker.score(result.waveform, result.sampling_rate, text)
            heard = at_rate(result.waveform[0], result.sampling_rate, judge.sampling_rate)
            told[row, number] = classifier.scores(judge.analyse(heard).tags)
    truth = [label for _, label, _ in takes]
    columns = [classifier.labels.index(label) for label in truth]
    print(f"{len(takes)} takes of {len(prompts)} captions")
    print("| best of | recognised by YAMNet | 95 % interval | mean score of its own class |")
    print("|---:|---:|---:|---:|")
    for count in sorted({2**k for k in range(5) if 2**k <= options.best_of} | {options.best_of}):
        kept = scores[:, :count].argmax(1)
        chosen = told[np.arange(len(takes)), kept]
        found = tag_accuracy([classifier.labels[i] for i in chosen.argmax(1)], truth)
        own = chosen[np.arange(len(takes)), columns].mean()
        interval = f"{100 * found.low:.1f} to {100 * found.high:.1f} %"
        print(f"| {count} | {100 * found.accuracy:.1f} % | {interval} | {own:.3f} |")


if __name__ == "__main__":
    main()
