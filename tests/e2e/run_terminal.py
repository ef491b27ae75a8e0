#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs $LAYERFS run on $IMAGE in terminals and under signals, and checks what comes out."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

LAYERFS, IMAGE = os.environ["LAYERFS"], os.environ["IMAGE"]
TIMEOUT = 60
failures = []


def check(name, expected, actual):
    if expected != actual:
        failures.append(f"{name}: expected {expected!r}, got {actual!r}")


def in_terminal(options, command, answers):
    """Output and status of a run in a terminal of 77 x 33; sends each answer when its cue is seen,
    or, where that is a pair, gives the terminal that size."""
    go, size_is_set = os.pipe()
    pid, master = pty.fork()
    if pid == 0:
        os.read(go, 1)
        os.execv(LAYERFS, [LAYERFS, "run", "--rm", *options, IMAGE, *command])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    os.write(size_is_set, b"x")
    os.close(go)
    os.close(size_is_set)
    output, deadline, answers = b"", time.monotonic() + TIMEOUT, list(answers)
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            if not data:
                break
            output += data
        if answers and answers[0][0] in output:
            answer = answers.pop(0)[1]
            if isinstance(answer, tuple):
                fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *answer, 0, 0))
            else:
                os.write(master, answer)
    else:
        os.kill(pid, signal.SIGKILL)
    return output, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Says each signal on a line; ends with status 4 at the one in its argument. It does not pause():
# a signal just before that is told at the next one only.
CATCHER = """
import os, signal, sys, time
def caught(number, frame):
    os.write(1, b"%d\\n" % number)
    if number == int(sys.argv[1]): os._exit(4)
for number in (1, 2, 3, 10, 12, 15, 28): signal.signal(number, caught)
os.write(1, b"ready\\n")
while True: time.sleep(0.05)
"""


def under_signals(options, last, signals):
    """The signals that the container says it got, and the status."""
    process = subprocess.Popen([LAYERFS, "run", "--rm", *options, IMAGE, "python3", "-c", CATCHER, str(last)],
                               stdout=subprocess.PIPE)
    check("first line", b"ready\n", process.stdout.readline())
    got = []
    for number in signals:
        process.send_signal(number)
        line = process.stdout.readline()
        got.append(int(line) if line.strip() else None)
    return got, process.wait(TIMEOUT)


output, status = in_terminal(["-it"], ["sh", "-c", "stty size; read x; echo got $x; exit 9"], [(b"33 77", b"hello\n")])
check("status in a terminal", 9, status)
check("answer in a terminal", True, b"got hello\r\n" in output)
output, status = in_terminal(["-it"], ["sh", "-c", "trap 'stty size; exit 5' WINCH; echo up; while :; do sleep 0.1; done"],
                             [(b"up", (44, 99))])
check("a new size of the terminal", (True, 5), (b"44 99" in output, status))
output, status = in_terminal(["-i"], ["sh", "-c", "tty; test -t 1 || echo none; read x; echo got $x"], [(b"none", b"hi\n")])
check("a terminal of ours is not the container's", True, b"not a tty" in output and b"got hi" in output)
output, status = in_terminal(["-it"], ["sh", "-c", "trap 'exit 3' INT; echo ready; while :; do sleep 0.1; done"],
                             [(b"ready", b"\x03")])
check("status after ^C", 3, status)

check("signals as they are", ([1, 2, 3, 12, 28, 10], 4), under_signals([], 10, [1, 2, 3, 12, 28, 10]))
check("TERM as the stop signal", ([12], 4), under_signals(["--stop-signal", "USR2"], 12, [15]))
check("a second TERM kills", ([15, None], 137), under_signals([], 99, [15, 15]))

print("\n".join(failures) or "terminals and signals: all hold")
sys.exit(1 if failures else 0)
