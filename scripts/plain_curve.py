"""Perplexity against minutes of the loop people write with torch alone, beside that of `experiment=wikitext2_200`.

`python scripts/plain_curve.py --minutes 60 --step-ms 355 --json curve.json` trains torch.nn's 2 x 200 tied LSTM on
WikiText-2 with the recipe of that experiment (SGD, cosine from 20, clipping at 0.25, dropout 0.2; the whole vocabulary
in every step) for as many steps as fit into the minutes at so many milliseconds a step, which `rnnlab bench train
--data corpus --cases wikitext2_200` measures. So the curve is that of a quiet machine wherever it is made. Every score
is rnnlab's, of the same weights in its own model.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from rnnlab.benchmarks.steps.cases import CASES
from rnnlab.benchmarks.steps.feed import Feed, settings
from rnnlab.benchmarks.steps.plain import PlainLoop
from rnnlab.hardware import tune_allocator
from rnnlab.tasks.base import score
from rnnlab.tasks.next_word import NextWord

FINAL_SHARE = 0.01  # of the learning rate at the end


def perplexity(task: NextWord, loop: PlainLoop, split: str) -> float:
    """Score the loop's weights in rnnlab's model."""
    model = task.build_model(settings(CASES["wikitext2_200"]).model)
    names = {"decoder.weight": None, "decoder.bias": "decoder_bias"}  # the decoder's weight is the embedding's
    weights = {names.get(name, name): tensor for name, tensor in loop.model.state_dict().items()}
    weights.pop(None)
    model.load_state_dict(weights)
    return score(task, model, split, batch_size=1, device=torch.device("cpu")).results()["perplexity"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, scores apart")
    parser.add_argument("--step-ms", type=float, required=True, help="of one step of the plain loop")
    parser.add_argument("--every", type=float, default=6.0, help="minutes between scores of the validation split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()

    tune_allocator()  # changes no number, and the minutes are counted in steps
    torch.set_num_threads(arguments.threads)
    case = CASES["wikitext2_200"]
    config = settings(case)
    task = NextWord(config.task, config.trainer, config.seed)  # pyright: ignore[reportArgumentType]
    task.read_corpus()
    tokens = task._ids["train"]
    nothing = np.empty(0, np.int64)
    feed = Feed(tokens, np.array([0, len(tokens)]), nothing, nothing, np.array([len(task.vocabulary), 0]))
    torch.manual_seed(0)
    loop = PlainLoop(case, feed, dropout=case.dropout, fused=True)
    for parameter in loop.model.parameters():
        torch.nn.init.uniform_(parameter, -0.1, 0.1)

    steps_a_minute = 60_000 / arguments.step_ms
    steps = round(arguments.minutes * steps_a_minute)
    every = round(arguments.every * steps_a_minute)
    curve: list[dict[str, float]] = []
    began = time.perf_counter()
    for step in range(1, steps + 1):
        share = FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * step / steps)) / 2
        loop.optimizer.param_groups[0]["lr"] = case.lr * share
        loop.step()
        if step % every == 0 or step == steps:
            point = {"step": step, "minutes": step / steps_a_minute, "valid": perplexity(task, loop, "valid")}
            curve.append(point)
            print(f"{point}, {time.perf_counter() - began:.0f} s", flush=True)
            result = {"step_ms": arguments.step_ms, "steps": steps, "curve": curve}
            if step == steps:
                result["test"] = perplexity(task, loop, "test")
                print(f"test {result['test']:.2f}")
            arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
