"""Part A of the matrix: runs that are killed, resumed as a user would, and must end as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import cycle, islice
from pathlib import Path

from crashes.bench import Bench, Tally
from crashes.durable import Operation, Watch, violations
from crashes.evidence import differences, fingerprint
from crashes.forks import Before, Team
from crashes.jobs import CELLS, DRAWN, TASKS, Job, jobs, pairs
from crashes.places import (
    CONTROLS,
    PLACES,
    Act,
    at_step,
    both,
    forgetting,
    tell_at_first_step,
    write_events_at_once,
)

_KILLS_OF_A_RUN = 12  # then it is left to end
_KILLS_OF_A_JOB = 5  # at operations; then comes the next


def random_moments(bench: Bench, kills: int) -> None:
    """A1 and A4: SIGKILL at random moments of training, and of a run's whole life, until a run ends by itself."""
    with bench.part("A1 random moments") as tally:
        for job in bench.mine(jobs(60)):
            if tally.kills.total() >= kills:
                break
            _kill_on_and_on(bench, job, tally)


def teams(bench: Bench, kills: int) -> None:
    """A10: one of two processes that train together is killed, or both: the other ends by itself, the run goes on."""
    with bench.part("A10 two processes") as tally:
        for job in bench.mine(jobs(24, devices=2)):
            if tally.kills.total() >= kills:
                break
            _kill_on_and_on(bench, job, tally)


def _kill_on_and_on(bench: Bench, job: Job, tally: Tally) -> None:
    """Kill a run at random moments until it comes to its end, or has been killed often enough."""
    whole = bench.whole(job)
    name, code = bench.new_name(), None
    for _ in range(_KILLS_OF_A_RUN):
        child = bench.attempt(job, name, both(tell_at_first_step, write_events_at_once))
        if bench.random.random() < 0.8:
            child.wait_for_word()
            code = child.wait(bench.random.uniform(0, 0.15 * whole.training))
        else:
            code = child.wait(bench.random.uniform(0, whole.seconds))
        if code is not None:
            break
        if isinstance(child, Team):
            child.victims = bench.random.choice([[0], [1], [0, 1]])
        child.kill(signal.SIGKILL)
        if not tally.note_end(job, found := child.wait()) and found:
            bench.complain(f"{job}: not killed, but ended with {found}; {bench.log(name)[-500:]}")
        tally.where[_standing(bench.outputs / name)] += 1
    if code is None:
        code = bench.attempt(job, name).wait()
    bench.judge(job, name, code, "killed at random moments")


def every_operation(bench: Bench, kills: int) -> None:
    """A2: SIGKILL before, after and half-way through durable operations, cold cache included; 30 % are killed twice."""
    with bench.part("A2 every durable operation") as tally:
        tally.facts["operations"] = {}
        trials: dict[Job, list[tuple[int, str]]] = {}
        moments = cycle(("before", "after", "half"))
        rounds = bench.mine(jobs(12))
        while tally.kills.total() < kills:
            job = next(rounds)
            if job not in trials:
                log = recorded(bench, job)
                tally.facts["operations"][str(job)] = len(log)
                places = [(number, moment) for number in range(1, len(log) + 1) for moment in ("before", "after")]
                places += [(number, "half") for number, done in enumerate(log, 1) if done.name == "write"]
                bench.random.shuffle(places)
                trials[job] = places
            for _ in range(_KILLS_OF_A_JOB):
                wanted = next(moments)
                number, moment = next((place for place in trials[job] if place[1] == wanted), trials[job][0])
                trials[job].remove((number, moment))
                _kill_at_operation(bench, job, number, moment, tally)


def _kill_at_operation(bench: Bench, job: Job, number: int, moment: str, tally: Tally) -> None:
    """Kill a run at an operation, perhaps again while it recovers, and let it end."""
    name = bench.new_name()
    cache = bench.folder / f"cache-{name}"
    code = bench.attempt(job, name, _watching(bench, cache, number, moment)).wait()
    tally.where[moment if tally.note_end(job, code) else "not reached"] += 1
    again = bench.random.random() < 0.3
    if again:
        second = bench.random.randint(1, 30)
        code = bench.attempt(job, name, _watching(bench, cache, second, "before")).wait()
        tally.where["again, in recovery"] += tally.note_end(job, code)
    code = bench.attempt(job, name, _watching(bench, cache)).wait()
    shutil.rmtree(cache, ignore_errors=True)
    bench.judge(job, name, code, f"killed {moment} operation {number}{' and again in recovery' if again else ''}")


def recorded(bench: Bench, job: Job) -> list[Operation]:
    """The durable operations of a whole run with a cold cache."""
    name = bench.new_name()
    cache, file = bench.folder / f"cache-{name}", bench.folder / f"{name}.json"
    code = bench.attempt(job, name, _watching(bench, cache, keep=file)).wait()
    if code != 0:
        raise RuntimeError(f"{job} ends with {code}: {bench.log(name)}")
    here = f"{bench.folder.resolve()}/"
    log = [
        Operation(name, tuple(path.removeprefix(here) for path in paths))
        for name, paths in json.loads(file.read_text())
    ]
    shutil.rmtree(cache, ignore_errors=True)  # drawn sequences need none
    file.unlink()
    bench.forget(name)
    return log


def _watching(bench: Bench, cache: Path, number: int = 0, moment: str = "", keep: Path | None = None) -> Before:
    """Watch a child's operations below the bench's folder; keep their list in a file at its end."""

    def before(tell: Act) -> None:
        os.environ["RNNLAB_CACHE"] = str(cache)
        watch = Watch(bench.folder)
        write_events_at_once(tell)
        watch.strike_at(number, moment)
        watch.install()
        if keep is not None:
            end, file = os._exit, keep

            def exit_with_log(code: int) -> None:
                log = list(watch.log)
                file.write_text(json.dumps(log))
                end(code)

            os._exit = exit_with_log  # pyright: ignore[reportAttributeAccessIssue]

    return before


def places(bench: Bench, kills: int) -> None:
    """A5: killed at each place of a run's life that has a name."""
    with bench.part("A5 named places") as tally:
        combinations = [Job(*pair) for shift in range(len(CELLS)) for pair in pairs((*TASKS, *DRAWN), shift)]
        # One after another, so that a few kills already meet every place and every job.
        order = zip(cycle(combinations), cycle(PLACES.items()), strict=False)
        for job, (place, before) in bench.mine(islice(order, min(kills, len(combinations) * len(PLACES)))):
            name = bench.new_name()
            code = bench.attempt(job, name, before).wait()
            if not tally.note_end(job, code):
                bench.complain(f"{job} was not reached {place}: exit code {code}")
            tally.where[place] += 1
            bench.judge(job, name, bench.attempt(job, name).wait(), f"killed {place}")


def controls(bench: Bench) -> None:
    """A6: what a resumed run is made to forget must be missed by the comparison; with nothing forgotten, nothing is."""
    with bench.part("A6 negative controls") as tally:
        caught = tally.facts["caught"] = {}
        for what, (forget, variant) in {"nothing": (lambda saved: None, "plain"), **CONTROLS}.items():
            job = Job("next_word", "lstm", variant, extra=("trainer.log_every_steps=3",))
            name = bench.new_name()
            # Saved at 8, logged at 9.
            tally.note_end(job, bench.attempt(job, name, both(at_step(11), write_events_at_once)).wait())
            code = bench.attempt(job, name, forgetting(forget)).wait()
            whole = bench.whole(job).fingerprint
            missed = [f"exit code {code}"] if code else differences(whole, fingerprint(bench.outputs / name))
            tally.runs += 1
            caught[what] = missed
            if bool(missed) != (what != "nothing"):
                bench.complain(f"{job} that forgets {what}: {', '.join(missed) or 'not caught'}")
            bench.forget(name)
        log = recorded(bench, Job("music", "gru", steps=12))
        for what in ("training.json", "checkpoints", ".json.", "events.out", "metrics.jsonl"):
            without = [done for done in log if not (done.name == "fsync" and what in os.path.basename(done.paths[0]))]
            caught[f"fsync of {what}"] = violations(without)[:1]
            if not caught[f"fsync of {what}"]:
                bench.complain(f"a run without fsync of {what}: not caught")


def steps_one_by_one(bench: Bench) -> None:
    """A7: ten resumes of one step each."""
    with bench.part("A7 ten resumes of one step") as tally:
        for task, cell in zip(TASKS, CELLS, strict=True):
            job = Job(task, cell, steps=12, extra=("trainer.checkpoint_every_steps=1",))
            name = bench.new_name()
            for step in range(1, 11):
                tally.note_end(job, bench.attempt(job, name, at_step(step)).wait())
            bench.judge(job, name, bench.attempt(job, name).wait(), "killed after each step")


def elsewhere(bench: Bench) -> None:
    """A8: resumed with other threads, from another working directory, after the run's folder was moved."""
    with bench.part("A8 other threads, place and folder") as tally:
        for task, cell in zip(TASKS, CELLS, strict=True):
            job = Job(task, cell)
            name = bench.new_name()
            for step, threads in ((5, 1), (9, 2), (13, 1)):
                extra = (f"trainer.threads={threads}",)
                tally.note_end(job, bench.attempt(job, name, at_step(step), extra).wait())
            code = bench.attempt(job, name, extra=("trainer.threads=2",)).wait()
            bench.judge(job, name, code, "with 1 and 2 threads in turn")

            name, moved = bench.new_name(), f"moved/{bench.new_name()}"
            tally.note_end(job, bench.attempt(job, name, at_step(9)).wait())
            (bench.outputs / "moved").mkdir(exist_ok=True)
            (bench.outputs / name).rename(bench.outputs / moved)
            tally.note_end(job, bench.attempt(job, moved, both(_go_to("/"), at_step(13))).wait())
            bench.judge(job, moved, bench.attempt(job, moved).wait(), "moved, and from another directory")


def _go_to(folder: str) -> Before:
    return lambda tell: os.chdir(folder)


def write_order(bench: Bench) -> None:
    """A9: nothing gets its name before it is on the disk, and nothing is removed before its successor is."""
    with bench.part("A9 order of writes") as tally:
        for job in (Job(task, cell, steps=12) for task, cell in zip(TASKS, CELLS, strict=True)):
            log = recorded(bench, job)
            tally.where["operations checked"] += len(log)
            tally.runs += 1
            for line in violations(log):
                bench.complain(f"{job}: {line}")


def _standing(run: Path) -> str:
    """Where a kill found a run."""
    names = {path.name for path in (run / "checkpoints").glob("*")} | {
        path.name for path in (run / "checkpoints").glob(".*")
    }
    if not (run / "run.json").exists():
        return "before there was a run"
    if any(name.startswith(".tmp-") for name in names):
        return "inside a checkpoint's writing"
    if any(name.startswith(".del-") for name in names):
        return "inside pruning"
    return "between checkpoints" if names else "before the first checkpoint"
