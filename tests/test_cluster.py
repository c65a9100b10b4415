"""Runs on the workers of a Dask cluster: the same bits as here, whatever is killed on the way."""

import importlib.util
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from commands import command

pytest.importorskip("distributed")
pytest.importorskip("dask_jobqueue")

from advdepth_nb.study.cluster import gpu_of_each, local_cluster
from advdepth_nb.study.plan import Plan, make_plan
from advdepth_nb.study.schedule import run_plan

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"encoder": "test_resnet", "fusion_width": "4", "epochs": "20", "init_from": ""}


def planned(out: Path, *rows: str, **changed: str) -> Plan:
    return make_plan("table1", "smoke", rows=rows, device="cpu", out=out, settings={**SMALL, **changed})


def differences(whole: Path, other: Path) -> list[str]:
    """What the script that kills commands finds different between two folders, time and memory aside."""
    spec = importlib.util.spec_from_file_location("kills", ROOT / "tools" / "kills.py")
    kills = sys.modules["kills"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kills)
    return kills.differences(whole, other)


@pytest.fixture(scope="module", autouse=True)
def data(worlds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVDEPTH_DATA", str(worlds))
        yield worlds


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> Path:
    """The folder of `runs` as `--jobs 2` makes them."""
    plan = planned(tmp_path_factory.mktemp("jobs"), "baseline", "adv")
    assert run_plan(plan, jobs=2, say=lambda text: None) == {}
    return plan.folder / "runs"


def kernels_of(process: psutil.Process | None = None) -> list[psutil.Process]:
    """The kernels at or below a process; the worker of each is its parent."""
    found = (process or psutil.Process()).children(recursive=True)
    return [p for p in found if p.is_running() and any("ipykernel_launcher" in word for word in words_of(p))]


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended
        return []


def at_checkpoint(run: Path, do: Callable[[], object]) -> threading.Thread:
    """Do something in another thread, once a run has a new checkpoint."""
    path, before = run / "checkpoint.pt", run.exists() and (run / "checkpoint.pt").exists()
    newer = path.stat().st_mtime if before else 0

    def watch() -> None:
        while not path.exists() or path.stat().st_mtime <= newer:
            time.sleep(0.02)
        do()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    return watcher


def epoch_of(run: Path) -> int:
    """The epoch that a run's kernel has told of last."""
    told = re.match(r"epoch (\d+)", json.loads((run / "progress.json").read_text())["text"])
    return int(told[1]) if told else 0


def test_two_workers_make_the_same_bits_even_if_both_are_killed(undisturbed, tmp_path):
    plan, said, epochs = planned(tmp_path, "baseline", "adv"), [], []
    run = plan.runs[1].folder

    def kill():
        epochs.append(epoch_of(run))
        for worker in {kernel.parent() for kernel in kernels_of()}:  # both: each run goes on in another process
            worker.kill()
        while epoch_of(run) and not (run / "train.ipynb").exists():
            epochs.append(epoch_of(run))
            time.sleep(0.05)

    watcher = at_checkpoint(run, kill)
    assert run_plan(plan, say=said.append, cluster="local:2") == {}
    watcher.join(120)
    assert not watcher.is_alive()
    assert sum("is gone; a run that it was at goes on elsewhere" in line for line in said) == 2
    assert 0 < epochs[0] == min(epochs) < max(epochs)  # no epoch that was done was made again
    assert differences(undisturbed, plan.folder / "runs") == []
    assert not list(plan.folder.glob(".cluster-*")) and not kernels_of()
    assert run_plan(plan, say=said.append, cluster="local:2") == {} and said[-1] == "2 of 2 runs are done already"


@pytest.fixture
def started(tmp_path):
    """Starts parts of a cluster as a user does, and ends them."""
    parts = []

    def start(part: str, *words: str, preload: str = "") -> psutil.Popen:
        if preload:
            (tmp_path / f"{len(parts)}.py").write_text(preload)
            words = (*words, "--preload", str(tmp_path / f"{len(parts)}.py"))
        file = ["--scheduler-file", str(tmp_path / "scheduler.json"), "--host", "127.0.0.1", "--no-dashboard"]
        said = (tmp_path / f"{len(parts)}.log").open("w")
        parts.append(psutil.Popen([sys.executable, "-m", f"distributed.cli.dask_{part}", *file, *words], stdout=said,
                                  stderr=said))  # fmt: skip
        return parts[-1]

    yield start
    for process in parts:
        for each in [*(process.children(recursive=True) if process.is_running() else []), process]:
            if each.is_running():
                each.kill()
        process.wait(30)


def address_of(folder: Path) -> str:
    """Where a scheduler listens, once it does."""
    path, begun = folder / "scheduler.json", time.monotonic()
    while not path.exists() or not path.read_text().endswith("}"):
        assert time.monotonic() - begun < 120, "the scheduler did not start"
        time.sleep(0.1)
    return json.loads(path.read_text())["address"]


WORKER = ("--nthreads", "1", "--dashboard-address", "127.0.0.1:0")
OLDER = "import advdepth_nb; advdepth_nb.__version__ = '0.0.9'"
WITHOUT_DATA = "from advdepth_nb.study import worker; worker.identity = lambda path: 'of other frames'"
WITHOUT_US = "import sys; sys.modules['advdepth_nb.study.worker'] = None"


def test_a_worker_that_does_not_fit_is_told_at_once_and_gets_no_run(started, tmp_path):
    started("scheduler", "--port", "0")
    for name, preload in (("old", OLDER), ("bare", WITHOUT_DATA), ("none", WITHOUT_US)):
        started("worker", *WORKER, "--name", name, preload=preload)
    from distributed import Client

    with Client(address := address_of(tmp_path), set_as_default=False) as client:
        client.wait_for_workers(3)
    plan, said = planned(tmp_path, "mean_depth"), []
    with pytest.raises(ValueError, match=r"^worker (old has|bare has|none cannot be asked)"):
        run_plan(plan, say=said.append, cluster=address)
    assert plan.runs[0].state == "to do" and not list(plan.folder.glob(".cluster-*"))
    for words in (
        r"worker old has advdepth_nb 0\.0\.9 \(code \w{8}\), and the command 0\.\d.*; install the same on both; it",
        r"worker bare has another file at .*\.h5; keep data where all machines see it .*; it gets no run",
        r"worker none cannot be asked \(.*\); install advdepth_nb 0\.\d.* there; it gets no run",
    ):
        assert any(re.match(words, line) for line in said), (words, said)


def test_an_interrupted_command_and_a_lost_scheduler_leave_what_the_next_command_finishes(
    undisturbed, started, tmp_path
):
    scheduler = started("scheduler", "--port", "0")
    misfit, fit = (started("worker", *WORKER, "--name", n, preload=p) for n, p in (("old", OLDER), ("fit", "")))
    plan, said = planned(tmp_path, "adv"), []
    run, address = plan.runs[0].folder, address_of(tmp_path)
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2)

    def stop(text: str) -> None:
        said.append(text)
        if "epoch 3/" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, say=stop, cluster=address)
    psutil.wait_procs(kernels_of(fit), timeout=30)
    assert not kernels_of(fit) and not kernels_of(misfit) and fit.is_running()
    assert any(line.startswith("worker old has advdepth_nb 0.0.9 (code ") for line in said)
    assert not (run / "train.ipynb").exists() and epoch_of(run)

    at_checkpoint(run, scheduler.kill)
    with pytest.raises(ConnectionError, match="the scheduler of the cluster is gone; start it again, or leave"):
        run_plan(plan, say=said.append, cluster=address)
    assert not (run / "train.ipynb").exists()
    fit.wait(120)  # a worker without a scheduler ends by itself, and its kernel with it

    with pytest.raises(ConnectionError, match=f"no scheduler answers at {address}; start one"):
        run_plan(plan, say=said.append, cluster=address)
    assert run_plan(plan, say=said.append) == {}
    assert differences(undisturbed / "adv", plan.folder / "runs/adv") == []


def test_slurm_jobs_are_workers_behind_keys(tmp_path, monkeypatch):
    """`sbatch` is a script that starts the job on this machine; nothing else is played."""
    sbatch = f"""#!/bin/bash
cp "${{@: -1}}" {tmp_path}/job.sh
nohup bash {tmp_path}/job.sh > {tmp_path}/job.log 2>&1 < /dev/null &
echo "Submitted batch job $!"
"""
    for name, text in (("sbatch", sbatch), ("scancel", '#!/bin/bash\nkill "$1"\n')):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    (tmp_path / "slurm.yaml").write_text("cores: 1\nmemory: 4GB\nwalltime: '01:00:00'\nqueue: gpu\nn_workers: 1\n")
    plan, said = planned(tmp_path, "mean_depth"), []
    assert run_plan(plan, say=said.append, cluster=f"slurm:{tmp_path}/slurm.yaml") == {}
    script = (tmp_path / "job.sh").read_text()
    for words in ("#SBATCH -p gpu", "#SBATCH -t 01:00:00", "#SBATCH --cpus-per-task=1", " tls://", "--tls-key "):
        assert words in script, words
    assert plan.runs[0].state == "done" and any("waiting for a worker" in line for line in said)
    assert not (plan.folder / "slurm/keys").exists() and "PRIVATE KEY" not in script


def test_nobody_without_the_keys_reaches_workers_that_were_started_here():
    from distributed import Client, Security

    with local_cluster(1, gpu_of_each(1, ["3"]), cores=2) as cluster:
        address = cluster.scheduler_address
        with Client(cluster, set_as_default=False) as client:
            seen = client.run(lambda: (os.environ["CUDA_VISIBLE_DEVICES"], os.environ.get("OMP_NUM_THREADS")))
            assert set(seen.values()) == {("3", os.environ.get("OMP_NUM_THREADS"))}
            assert list(client.nthreads().values()) == [2]
        for wrong in ({"security": Security.temporary()}, {"address": address.replace("tls", "tcp")}):
            with pytest.raises((OSError, TypeError)):
                Client(**{"address": address, "timeout": 2, "set_as_default": False, **wrong})


@pytest.mark.parametrize(
    "words, told",
    [
        (["nodes"], "--cluster nodes is none of local:N, tcp://ADDRESS, tls://ADDRESS or slurm:FILE"),
        (["local:0"], "--cluster local:0: give the number of workers, for example local:2"),
        (["local:1000000"], "--cluster local:1000000: this machine has"),
        (["local:2", "--jobs", "2"], "as many runs at a time as it has workers: leave --jobs out"),
        (["local:2", "--only", "0"], "--only makes one run, here: leave --jobs and --cluster out"),
        (["tcp://10.1.2.3:8786"], "whoever reaches this address can run programs on its workers; give tls://"),
        (["tls://10.1.2.3:8786"], "no ca-file, client.cert, client.key below distributed.comm.tls"),
        (["slurm:none.yaml"], "none.yaml does not exist; give a YAML file with cores, memory"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(words, told, worlds, tmp_path):
    rows = ["ablate", "table1", "--scale", "smoke", "--rows", "mean_depth,baseline,adv", "--set", "init_from="]
    done = command(*rows, "--out", tmp_path, "--cluster", *words, data=worlds)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_line_that_installs_it_is_said(worlds, tmp_path, monkeypatch):
    monkeypatch.setattr("advdepth_nb.study.cluster.find_spec", lambda name: None)
    done = command("ablate", "table1", "--scale", "smoke", "--out", tmp_path, "--cluster", "local:2", data=worlds)
    assert done.returncode == 2 and "needs distributed, cryptography: pip install 'advdepth_nb[cluster]'" in done.stderr
