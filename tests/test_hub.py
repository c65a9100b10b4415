"""Models of a hub: pushed to a server on this machine, loaded from it, from its cache, and refused in one sentence."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from advdepth_nb.core.files import write_json
from advdepth_nb.systems.catalog import SYSTEMS, experiment
from advdepth_nb.systems.model_files import save_model

ROOT = Path(__file__).resolve().parents[1]


class Hub:
    """What the hub's interface does for a model: info and tree of a revision, files, and commits of base64 files."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}  # repository -> commit -> files; the last one is main
        self.asked: list[str] = []
        self.address = ""

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        history = self.commits.setdefault(repo, {})
        oid = hashlib.sha1(b"".join([repo.encode(), str(len(history)).encode(), *files.values()])).hexdigest()
        history[oid] = files
        return oid

    def resolve(self, repo: str, revision: str) -> str | None:
        history = self.commits.get(repo, {})
        return next(reversed(history), None) if revision == "main" else revision if revision in history else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, status: int, content: bytes | dict | list = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def found(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if repo not in self.hub.commits:
            self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        elif (oid := self.hub.resolve(repo, revision)) is None:
            self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        else:
            return oid, self.hub.commits[repo][oid]
        return None

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.hub.asked.append(path)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            if told := self.found(match[1], match[3]):
                oid, files = told
                listed = [
                    {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": name}
                    for name, data in files.items()
                ]
                siblings = [{"rfilename": name} for name in files]
                info = {"_id": "0", "id": match[1], "sha": oid, "private": False, "tags": [], "siblings": siblings}
                self.answer(200, info if match[2] == "revision" else listed, Content_Type="application/json")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if told := self.found(match[1], match[2]):
                oid, files = told
                if match[3] not in files:
                    return self.answer(404, X_Error_Code="EntryNotFound")
                tag = f'"{hashlib.sha1(files[match[3]]).hexdigest()}"'
                self.answer(200, files[match[3]], ETag=tag, X_Repo_Commit=oid)
        else:
            self.answer(404)
        return None

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer hf_of_a_test":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            told = json.loads(body)
            repo = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
            self.hub.commits.setdefault(repo, {})
            return self.answer(200, {"url": f"{self.hub.address}/{repo}"}, Content_Type="application/json")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path.partition("?")[0]):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files}, Content_Type="application/json")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path.partition("?")[0]):
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            oid = self.hub.commit(match[1], files)
            told = {"commitUrl": f"{self.hub.address}/{match[1]}/commit/{oid}", "commitOid": oid, "success": True}
            return self.answer(200, told, Content_Type="application/json")
        return self.answer(200, {}) if self.path.startswith("/api/validate-yaml") else self.answer(404)


@contextmanager
def serving(hub: Hub):
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def hub():
    with serving(Hub()) as hub:
        yield hub


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A run of the smallest scale as a study leaves it, scored as if."""
    e = experiment("full", "stereo", "smoke")
    folder = tmp_path_factory.mktemp("study") / "runs/full/seed=0"
    torch.manual_seed(0)
    save_model(SYSTEMS["stereo"].network(e), e, folder)
    scores = {"protocol": "all", "dataset": "fields", "n_images": 2, "epe": 4.25}
    told = {"study": "stereo", "row": "full", "seed": 0, "metrics": [scores], "budget": {"generator_steps": 3}}
    write_json(folder / "metrics.json", told)
    write_json(folder / "experiment.json", {"data": {"name": "fields", "facts": {"train_scenes": 4}}})
    return folder


def shell(hub_address: str, cache: Path, *words, cwd: Path, offline: str = "0", token: str = "hf_of_a_test"):
    """A command in a process of its own, as the hub's address is read once."""
    env = {
        **os.environ, "HF_ENDPOINT": hub_address, "HF_HOME": str(cache), "HF_HUB_OFFLINE": offline, "HF_TOKEN": token,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, *map(str, words)], env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def pushed(hub, run_folder, tmp_path_factory) -> str:
    """The commit that `advdepth push` made."""
    here = tmp_path_factory.mktemp("push")
    words = ["-m", "advdepth_nb", "push", run_folder, "me/fields"]
    dry = shell(hub.address, here / "cache", *words, "--dry-run", cwd=here)
    assert dry.returncode == 0, dry.stderr
    assert "results/shared/me/fields: README.md, model.json, model.safetensors" in dry.stdout and not hub.commits
    refused = shell(hub.address, here / "cache", *words, cwd=here, token="hf_of_somebody_else")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
    assert "me/fields could not be written at" in refused.stderr and "hf auth login" in refused.stderr
    done = shell(hub.address, here / "cache", *words, cwd=here)
    assert done.returncode == 0, done.stderr
    commit = re.search(r"sent: me/fields@([0-9a-f]{40})", done.stdout)[1]
    assert hub.resolve("me/fields", "main") == commit
    return commit


def test_what_is_pushed_is_the_run_and_a_card_that_the_hub_can_read(hub, pushed, run_folder):
    files = hub.commits["me/fields"][pushed]
    assert sorted(files) == ["README.md", "model.json", "model.safetensors"]
    assert all(files[name] == (run_folder / name).read_bytes() for name in ("model.json", "model.safetensors"))
    _, head, body = files["README.md"].decode().split("---\n", 2)
    told = yaml.safe_load(head)
    assert (told["license"], told["library_name"], told["pipeline_tag"]) == (
        "apache-2.0",
        "advdepth_nb",
        "depth-estimation",
    )
    assert told["model-index"][0]["results"][0]["metrics"][0]["value"] == 4.25
    assert "Row `full` of the study `stereo`" in body and "synthetic fields (train scenes 4)" in body
    assert "seed 0" in body and "## Limits" in body


SCRIPT = """
import sys
from advdepth_nb import load
unpickled = []
sys.addaudithook(lambda event, args: unpickled.append(args) if event == "pickle.find_class" else None)
predictor = load(sys.argv[1], "cpu")
import torch
print(predictor.origin, float(predictor(torch.linspace(0, 1, 3 * 32 * 64).reshape(3, 32, 64)).sum()))
assert not unpickled, unpickled
"""


def test_a_model_is_loaded_by_name_kept_and_found_again_without_a_network(hub, pushed, run_folder, tmp_path):
    ours = shell(hub.address, tmp_path / "cache", "-c", SCRIPT, run_folder, cwd=tmp_path)
    first = shell(hub.address, tmp_path / "cache", "-c", SCRIPT, "me/fields", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.split() == [f"me/fields@{pushed}", *ours.stdout.split()]  # the same numbers
    for endpoint, offline in (("http://127.0.0.1:9", "0"), (hub.address, "1")):
        again = shell(endpoint, tmp_path / "cache", "-c", SCRIPT, "me/fields", cwd=tmp_path, offline=offline)
        assert again.stdout == first.stdout, again.stderr
    fetched = sorted({name for path in (tmp_path / "cache").rglob("snapshots/*/*") for name in [path.name]})
    assert fetched == ["model.json", "model.safetensors"]  # no card, and whatever else lies there


def test_a_revision_is_pinned_and_a_program_is_not_fetched(hub, pushed, tmp_path):
    """The owner changes the model: the name gives the new one, the commit the old one."""
    files = dict(hub.commits["me/fields"][pushed])
    told = json.loads(files["model.json"])
    evil = json.dumps({**told, "code": "code/0123456789abcdef/mine.py"}).encode()
    newer = hub.commit("me/changing", files), hub.commit("me/changing", {**files, "model.json": evil, "mine.py": b"x"})
    cache = tmp_path / "cache"
    old = shell(hub.address, cache, "-c", SCRIPT, f"me/changing@{newer[0]}", cwd=tmp_path)
    assert old.stdout.startswith(f"me/changing@{newer[0]} "), old.stderr
    image = tmp_path / "a.png"
    Image.new("RGB", (64, 32), (90, 120, 60)).save(image)
    predict = ["-m", "advdepth_nb", "predict", image, "-o", "out", "--device", "cpu", "--model"]
    new = shell(hub.address, cache, *predict, "me/changing", cwd=tmp_path)
    assert new.returncode == 2 and "needs code/0123456789abcdef/mine.py" in new.stderr, new.stderr
    assert not list(cache.rglob("mine.py")) and not (tmp_path / "out").exists()
    made = shell(hub.address, cache, *predict, f"me/changing@{newer[0]}", cwd=tmp_path)
    assert made.returncode == 0 and f"model: me/changing@{newer[0]}" in made.stdout, made.stderr
    assert json.loads((tmp_path / "out/model.json").read_text())["model"] == f"me/changing@{newer[0]}"


def test_what_cannot_be_had_ends_in_one_sentence_and_a_local_folder_wins(hub, pushed, run_folder, tmp_path):
    hub.commit("me/pickle", {"pytorch_model.bin": b"\x80\x04"})
    predict = ["-m", "advdepth_nb", "predict", ROOT / "nbs/images", "-o", "out", "--device", "cpu", "--model"]
    for name, endpoint, words in (
        ("me/nothing", hub.address, "me/nothing is no folder here, and no model at"),
        ("me/fields@v9", hub.address, "me/fields has no revision v9"),
        ("me/pickle", hub.address, "me/pickle"),
        (
            "me/fields",
            "http://127.0.0.1:9",
            "cannot be reached (or HF_HUB_OFFLINE is set), and the cache does",
        ),
    ):
        done = shell(endpoint, tmp_path / "cache", *predict, name, cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("advdepth: ") and not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").rglob("*.bin"))
    (tmp_path / "me").mkdir()
    (tmp_path / "me/fields").symlink_to(run_folder)
    hub.asked.clear()
    local = shell(hub.address, tmp_path / "cache", "-c", SCRIPT, "me/fields", cwd=tmp_path)
    assert local.returncode == 0 and len(local.stdout.split()) == 1 and hub.asked == []


def test_torch_hub_finds_the_repository_and_its_dependencies(tmp_path):
    script = (
        "import sys, torch\n"
        "repository = sys.argv[1]\n"
        "predictor = torch.hub.load(repository, 'depth', source='local', device='cpu')\n"
        "depth = predictor(torch.rand(3, 60, 80))\n"
        "assert depth.shape == (60, 80) and depth.min() > 0 and isinstance(predictor.net, torch.nn.Module)\n"
        "import advdepth_nb; assert advdepth_nb.__file__.startswith(repository), advdepth_nb.__file__\n"
    )
    done = shell("http://127.0.0.1:9", tmp_path, "-c", script, ROOT, cwd=tmp_path, offline="1")
    assert done.returncode == 0, done.stderr
