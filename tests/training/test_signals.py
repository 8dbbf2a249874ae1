import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from rnnlab.training.signals import Interrupted, StopSignals, interruption

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_interrupts_nothing(number, exit_code):
    with StopSignals() as signals:
        assert (signals.received, signals.name) == (None, "no signal")
        send(number)
        assert (signals.received, signals.name, signals.exit_code) == (number, number.name, exit_code)


def test_a_second_ctrl_c_interrupts_at_once():
    with StopSignals() as signals:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert signals.received == signal.SIGINT


def test_other_signals_may_come_any_number_of_times():
    with StopSignals() as signals:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            send(number)
        assert signals.received == signal.SIGTERM


def test_sigusr1_asks_to_save_and_stops_nothing():
    with StopSignals() as signals:
        send(signal.SIGUSR1)
        assert (signals.asked_to_save, signals.received) == (True, None)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_around_a_command_a_signal_ends_it_at_once_with_its_exit_code(number, exit_code):
    with pytest.raises(Interrupted, match=f"stopped by {number.name}") as caught, StopSignals(at_once=True):
        send(number)
    assert isinstance(caught.value, KeyboardInterrupt), "so that nothing takes it for an error"
    assert caught.value.exit_code == exit_code


def test_what_is_cleared_up_after_a_signal_is_left_to_end_but_not_by_a_second_ctrl_c():
    with StopSignals(at_once=True):
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
        send(signal.SIGTERM)  # of a process manager that sends two
    with StopSignals(at_once=True):
        with pytest.raises(Interrupted):
            send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_what_an_import_swallowed_the_loop_still_hears_of():
    with StopSignals(at_once=True) as around:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            with contextlib.suppress(BaseException):
                send(number)
        with StopSignals() as signals:
            assert (signals.received, signals.asked_to_save) == (signal.SIGTERM, True)
            signals.asked_to_save = False
        assert not around.asked_to_save, "it was saved"


def test_inside_of_a_command_the_loop_takes_signals_for_itself_and_gives_them_back():
    with StopSignals(at_once=True) as around:
        with StopSignals() as signals:
            send(signal.SIGHUP)
            assert signals.received == signal.SIGHUP
        assert around.received == signal.SIGHUP
        assert signal.getsignal(signal.SIGTERM) == around._handle


def test_the_handlers_before_are_put_back_also_after_an_error():
    before = [signal.getsignal(number) for number in STOPPING]
    with pytest.raises(ZeroDivisionError), StopSignals():
        assert [signal.getsignal(number) for number in STOPPING] != before
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in STOPPING] == before


@pytest.mark.parametrize("number", STOPPING)
def test_what_was_ignored_stays_ignored(number):
    """SIGHUP under nohup, SIGINT of a script's background job: the run goes on when the terminal goes."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            send(number)
            assert signals.received is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_in_another_thread_nothing_is_installed():
    found = []

    def look():
        with StopSignals() as signals:
            found.extend([signals.received, *(signal.getsignal(number) for number in STOPPING)])

    before = [signal.getsignal(number) for number in STOPPING]
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [None, *before]


def test_what_fails_while_it_is_cleared_up_after_a_signal_came_of_the_signal():
    with StopSignals(at_once=True), pytest.raises(AttributeError) as caught:
        try:
            send(signal.SIGINT)
        finally:
            None.release()  # pyright: ignore[reportOptionalMemberAccess]  # as a lock that was still being made
    stop = interruption(caught.value)
    assert stop is not None
    assert stop.exit_code == 130
    assert interruption(AttributeError("of its own")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_a_process_is_asked_to_stop_when_who_started_it_is_gone():
    child = "from rnnlab.training.signals import end_with_parent as e; e(); print(1, flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"1\n"
        process.kill()
        assert process.stdout.read() == b""  # its other end is closed: the child is gone, though its input is open
        process.wait()
