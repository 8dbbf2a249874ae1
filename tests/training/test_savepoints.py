"""When a run is saved. What it goes on from is in test_resume.py and test_divergence.py."""

import pytest

from rnnlab.errors import CannotWriteError
from rnnlab.training import savepoints


def test_checkpoints_are_made_when_asked_for_and_at_each_evaluation(lab, tmp_path, monkeypatch):
    made = []
    save = savepoints.save_checkpoint
    monkeypatch.setattr(savepoints, "save_checkpoint", lambda *a, **k: made.append((a[1], k["best"])) or save(*a, **k))
    lab.fit(tmp_path, lab.config(checkpoint_every_steps=5, eval_every_steps=4, max_steps=11, num_samples=0))
    assert [step for step, _ in made] == [4, 5, 8, 10, 11]
    assert [best for _, best in made] == [True, False, True, False, True], "scores still improve"


@pytest.mark.parametrize(("minutes", "steps"), [(None, [4, 7]), (1.0, [2, 4, 6, 7]), (2.0, [4, 7])])
def test_a_checkpoint_is_made_after_minutes_of_training_without_one(lab, tmp_path, monkeypatch, minutes, steps):
    made = []
    trainer = lab.trainer(
        tmp_path, lab.config(checkpoint_every_minutes=minutes, eval_every_steps=4, max_steps=7, num_samples=0)
    )
    save, step = savepoints.save_checkpoint, trainer._step

    def half_a_minute(group):
        trainer.counters.seconds += 30
        return step(group)

    monkeypatch.setattr(trainer, "_step", half_a_minute)
    monkeypatch.setattr(savepoints, "save_checkpoint", lambda *a, **k: made.append(a[1]) or save(*a, **k))
    trainer.fit()
    assert made == steps


def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint_before(lab, tmp_path, monkeypatch):
    trainer = lab.trainer(tmp_path, lab.config(checkpoint_every_steps=3, num_samples=0))
    save = savepoints.save_checkpoint

    def fails_later(folder, step, *arguments, **keywords):
        if step > 3:
            raise CannotWriteError("cannot write checkpoint")
        return save(folder, step, *arguments, **keywords)

    monkeypatch.setattr(savepoints, "save_checkpoint", fails_later)
    with pytest.raises(CannotWriteError):
        trainer.fit()
    monkeypatch.undo()
    resumed = lab.resume(tmp_path, lab.config(checkpoint_every_steps=3, num_samples=0))
    assert resumed.counters.step == 12
