import time, pytest, torch, os, errno, signal, json, gc
from dataclasses import replace
from rnnlab.training import checkpoint as ck, trainer as tr, logs
from rnnlab.training.trainer import Trainer

def test_forget(lab, tmp_path):
    from rnnlab.models import LanguageModel
    m = LanguageModel(5, hidden_size=3, embedding_size=2, initialisation="uniform", init_range=.1, forget_gate_bias=7.)
    print("forget", m.recurrent.bias_ih_l0)

def test_onehot(lab):
    from rnnlab.models import LanguageModel
    m = LanguageModel(5, hidden_size=3, embedding="one_hot").double()
    try: m(torch.zeros(2,1,dtype=torch.long))
    except Exception as e: print("one_hot", e)

def test_cuda_rng(lab, tmp_path, monkeypatch):
    c = lab.config(checkpoint_every_steps=3)
    monkeypatch.setattr(tr, "_cuda_rng_states", lambda *a: [torch.get_rng_state()])
    lab.fit_until(tmp_path/"b", c, 8)
    try: lab.resume(tmp_path/"b", c)
    except BaseException as e: print("cuda rng", type(e), e)

def test_events_enospc(lab, tmp_path, monkeypatch):
    c = lab.config(checkpoint_every_steps=3, eval_every_steps=4)
    t = lab.trainer(tmp_path/"b", c)
    real = t._step
    def step(g):
        if t.counters.step == 5:
            w = t._events._writer._get_file_writer().event_writer._async_writer._writer
            def bad(*a, **k): raise OSError(errno.ENOSPC, "No space left on device")
            w.write = bad
        return real(g)
    t._step = step
    try: t.fit()
    except BaseException as e: print("enospc", type(e), e, e.__context__)
    print("steps", t.counters.step)

def test_nohup(lab, tmp_path):
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        from rnnlab.training.signals import StopSignals
        with StopSignals() as s:
            os.kill(os.getpid(), signal.SIGHUP)
            print("hup", s.received)
    finally: signal.signal(signal.SIGHUP, old)

def test_same_step_crash(lab, tmp_path, monkeypatch):
    from pathlib import Path
    f = tmp_path/"c"
    ck.save_checkpoint(f, 5, {"a": torch.ones(1)}, {"b": 1}, best=True)
    rename = Path.rename
    def dying(self, target):
        if self.name.startswith(".tmp-step"): raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)
    monkeypatch.setattr(Path, "rename", dying)
    try: ck.save_checkpoint(f, 5, {"a": torch.ones(1)}, {"b": 2}, best=True)
    except Exception as e: print("same", e)
    print(sorted(os.listdir(f)))
    try: print(ck.load_training(f))
    except Exception as e: print("same", e)

def test_nan_loss(lab, tmp_path):
    c = lab.config()
    t = lab.trainer(tmp_path/"n", c)
    nats = t.task.nats
    t.task = type("T", (), {})()
    t.task.__dict__.update(lab.task(c).__dict__)
    class Nan(type(lab.task(c))):
        def nats(self, o, w): return super().nats(o, w) + torch.nan
    t.task.__class__ = Nan
    before = {k: v.clone() for k, v in t.model.state_dict().items()}
    try: t.fit()
    except Exception as e: print("nan", type(e), e)
    print(all(torch.equal(v, before[k]) for k, v in t.model.state_dict().items()))

def test_only_one(lab, tmp_path):
    c = lab.config(checkpoint_every_steps=3, eval_every_steps=3)
    lab.fit_until(tmp_path/"b", c, 8)
    print("kept", sorted(os.listdir(tmp_path/"b"/"checkpoints")))

def test_empty_text(lab, tmp_path):
    from rnnlab.config import SentimentConfig
    from rnnlab.tasks import build_task
    for s in ("train","valid","test"):
        rows = [f"word{n%3} good {n},{n%2}" for n in range(20)]
        if s == "test": rows.append(":-),1")
        (tmp_path/f"{s}.csv").write_text("text,label\n"+"\n".join(r.replace("good", f"good{s}") for r in rows)+"\n")
    c = lab.config("sentiment", task=SentimentConfig(name="sentiment", corpus=str(tmp_path), min_count=1), batch_size=5)
    try: lab.fit(tmp_path/"run", c)
    except Exception as e: print("empty", type(e), e)

def test_stderr_broken(lab, tmp_path, monkeypatch, capsys):
    import sys
    logs.log_to(None)
    class Broken:
        def write(self, *a): raise OSError(errno.EIO, "Input/output error")
        def flush(self): raise OSError(errno.EIO, "Input/output error")
        def isatty(self): return False
    with monkeypatch.context() as m:
        m.setattr(sys, "stderr", Broken())
        try: logs.log.info("x")
        except Exception as e: r = e
        else: r = "fine"
    print("stderr", r)
    for h in logs.log.handlers[:]: logs.log.removeHandler(h)

def test_sort(tmp_path):
    for s in (99_999_999, 100_000_000):
        ck.save_checkpoint(tmp_path, s, {"a": torch.ones(1)}, {"s": s}, best=s==99_999_999)
    print("sort", ck.load_training(tmp_path)[1])
def test_fork(lab, tmp_path):
    c = lab.config(checkpoint_every_steps=3, eval_every_steps=4)
    b=time.time()
    pid = os.fork()
    if pid == 0:
        t = lab.trainer(tmp_path/"b", c)
        real = t._step
        def step(g):
            if t.counters.step == 8: os.kill(os.getpid(), 9)
            return real(g)
        t._step = step
        t.fit()
    print("fork", os.waitpid(pid, 0), time.time()-b, sorted(os.listdir(tmp_path/"b"/"checkpoints")))
