"""Several GPUs of one machine: one process each, started and watched by supervise().

Every process holds all weights and takes the same decisions: what the first one reads from its clock
or its losses is shared with the others over the loopback, gradients are averaged between the GPUs.
"""

import datetime
import os
import subprocess
import sys
import time

import torch
import torch.distributed as dist


class Team:
    def __init__(self):
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        self.first = self.rank == 0
        self.talk = None
        if self.size > 1:
            limit = datetime.timedelta(seconds=100)
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=limit)
            self.talk = dist.new_group(backend="gloo", timeout=limit)
            probe = torch.ones(1, device="cuda" if torch.cuda.is_available() else "cpu")
            dist.all_reduce(probe)
            if int(probe[0]) != self.size:
                raise RuntimeError("the GPUs cannot add up")

    def share(self, number):
        """The first process's number, on the host, without waiting for the device."""
        if self.size == 1:
            return number
        t = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(t, 0, group=self.talk)
        return float(t[0])

    def mean(self, tensor):
        """The mean over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor.div_(self.size)

    def align(self, tensors):
        """Everybody takes the first process's values."""
        if self.size > 1:
            for t in tensors:
                dist.broadcast(t, 0)

    def leave(self):
        """Waits for the others and ends the process without tearing anything down."""
        if self.size > 1:
            dist.barrier(group=self.talk)
            sys.stdout.flush()
            time.sleep(1.0 if self.first else 0.0)  # the first one holds the connections
            os._exit(0)


def launch(script, arguments, gpus):
    """Runs the script once for each GPU; ends all as soon as one fails. Returns the exit status."""
    children, port = [], str(29500 + (os.getpid() + int(time.time())) % 400)
    for rank in range(gpus):
        env = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(gpus), MASTER_ADDR="127.0.0.1",
                   MASTER_PORT=port, FIMD_CHILD="1")
        if gpus > 1:
            env.setdefault("GLOO_SOCKET_IFNAME", "lo")
            env.setdefault("NCCL_SOCKET_IFNAME", "lo")
            env["CUDA_VISIBLE_DEVICES"] = str(rank)
        children.append(subprocess.Popen([sys.executable, script, *arguments], env=env))
    while True:
        codes = [c.poll() for c in children]
        if all(code == 0 for code in codes):
            return 0
        if any(code not in (None, 0) for code in codes):
            for c in children:
                if c.poll() is None:
                    c.kill()
            for c in children:
                c.wait()
            return next(code for code in codes if code not in (None, 0))
        time.sleep(0.5)


def supervise(script, arguments, gpus, out, deadline, say):
    """Runs to the end. After a failure the run goes on from its last state, with one GPU after the
    second failure, while there is time for it."""
    state = os.path.join(out, "state.pt")
    arguments = [*arguments, "--deadline", str(deadline)]
    for attempt in range(5):
        more = ["--resume", state] if attempt and os.path.exists(state) else []
        code = launch(script, arguments + more, gpus)
        if code == 0:
            return 0
        say(f"the run ended with status {code}")
        if time.time() > deadline - 60:
            break
        if attempt or not os.path.exists(state):
            gpus = 1
    return 1
