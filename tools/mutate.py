"""Would the tests notice? One change at a time in the numeric modules, and what watches them is run.

python tools/mutate.py --count 100 --seed 0     a sample of all changes, as many from each module
python tools/mutate.py --named                  the changes of NAMED alone: mistakes that were made, or nearly
python tools/mutate.py --modules losses/gan     from these modules alone
python tools/mutate.py --again                  what survived in the table so far, once more
python tools/mutate.py --list                   names the changes and runs nothing

A change is made in a copy of the tree, in the notebook's cell and in the exported module alike. The module's own
notebook runs first, then what WATCHED_BY names beside it, up to the first that fails; one process, a few seconds a
change. Each result is appended to the table (`--out`, results/mutations.csv): module, line, function, change, which of
several alike, caught or survived, by what, seconds. What is in the table is not run again, so an interrupted call goes
on. At the end survivors are named; the exit status is 1 where less than 95 % are caught.

A change that alters no value, or only ones that nobody may rely on, is listed in tools/equivalent_mutants.csv with its
reason, and is neither run nor counted.
"""

import argparse
import ast
import contextlib
import csv
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice, zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENOUGH = 0.95  # share of changes that must be caught

# Numeric modules, and what watches them besides their own notebook: other notebooks, or files in tests/.
WATCHED_BY: dict[str, tuple[str, ...]] = {
    "core/colors": (),
    "core/geometry": ("losses/depth", "losses/stereo"),
    "scenes/raycast": ("scenes/furniture",),
    "scenes/lighting": (),
    "scenes/sensor": (),
    "scenes/rig": (),
    "data/augment": ("systems/stereo",),
    "models/constant": (),
    "models/discriminators": ("training/adversary",),
    "losses/depth": (),
    "losses/stereo": ("systems/stereo",),
    "losses/gan": ("training/adversary",),
    "metrics/protocols": ("metrics/depth",),
    "metrics/depth": (),
    "metrics/boundaries": (),
    "metrics/disparity": ("systems/stereo",),
    "metrics/images": (),
    "training/adversary": (),
    "training/schedules": (),
    "training/loop": (),
    "training/gan_monitor": (),
    "training/shortcut_audit": (),
    "training/flops": (),
    "training/loss_weights": (),
    "stats/crossed": ("tests/test_planted.py",),
}


@dataclass(frozen=True)
class Mutant:
    """One change in one top-level statement of a module; `nth` of those of one function that read alike."""

    module: str  # losses/gan
    line: int
    function: str
    before: str
    after: str
    nth: int
    statement: str  # the source of the top-level statement
    start: int  # of `before` in it, in bytes
    end: int

    @property
    def change(self) -> str:
        return f"{' '.join(self.before.split())} -> {' '.join(self.after.split())}"

    @property
    def key(self) -> tuple[str, ...]:
        """What it is known by in tables: no line, which moves."""
        return self.module, self.function, self.change, str(self.nth)

    @property
    def changed(self) -> str:
        """The statement after the change."""
        raw = self.statement.encode()
        return (raw[: self.start] + self.after.encode() + raw[self.end :]).decode()


# Mistakes that a test must notice: module, function ("": any), what stands there, what could.
NAMED = [
    ("systems/stereo", "StereoDepth", "right, -d_right, self.outside", "right, d_right, self.outside"),
    ("stats/crossed", "", "ddof=1", "ddof=0"),
    ("training/shortcut_audit", "", "ddof=1", "ddof=0"),
    ("report/page", "ours", ".std()", ".std(ddof=0)"),
    ("report/translation", "class_scores", ".std()", ".std(ddof=0)"),
    ("core/geometry", "masked_mean", "(mask.sum() * values.shape[1])", "mask.sum()"),
    ("metrics/depth", "", "< protocol.max_depth", "<= protocol.max_depth"),
    ("training/adversary", "random_direction", " * (true != 0)", ""),
    ("training/gan_monitor", "undisturbed", "adversary.generator.set_state(state)", "pass"),
    ("training/loop", "generator_for", "seed * 1_000_003 + epoch", "seed * 1_000_003"),
    ("training/loop", "Training", "generator_for(self.seed, self.epoch)", "generator_for(self.seed, 0)"),
    ("training/callbacks", "_logged", '["step"] <= until', '["step"] < until'),
    ("study/feasible", "held_out_scenes", '0 if e.eval_split == "validation" else seed', "seed"),
    ("study/plan", "_runs", "runs[e.init_from, seed].fingerprint if e.init_from", '"" if e.init_from'),
    ("study/plan", "Run", "known, self.init]", "known]"),
    ("study/evaluate", "evaluate_run", '"test" if e.eval_split == "test" else "train"', '"train"'),
    ("study/evaluate", "evaluate_run", "hold_out(data_set, e)[1]", "hold_out(data_set, e)[0]"),
]


# ---- what may be changed -------------------------------------------------------------------------------------------

SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {
    "min": "max", "minimum": "maximum", "amin": "amax", "cummin": "cummax", "argmin": "argmax", "any": "all",
    "floor": "ceil", "sum": "mean", "sin": "cos", "zeros_like": "ones_like", "zeros": "ones", "median": "mean",
}  # fmt: skip
NAMES |= {other: name for name, other in NAMES.items() if name != "median"}
DROPPED = ("clamp", "abs", "detach", "sqrt", "square", "flip", "clip")  # methods whose result is near what they had
ANY_ORDER = ("isinstance", "getattr", "zip", "min", "max", "minimum", "maximum", "isclose")  # or swapped without sense
OF_DEVICES = ("device", "pin_memory", "fused", "devices", "accelerator")  # without an accelerator they change nothing
Change = Iterator[tuple[ast.AST, ast.AST]]  # what stands there, what is put there


def other_operators(node: ast.AST) -> Change:
    """< for <=, + for -, * for /, & for |, and for or."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
        yield node, ast.Compare(node.left, [SWAPS[type(node.ops[0])]()], node.comparators)
    if isinstance(node, ast.Compare) and len(node.ops) > 1:  # of `low < x < high` the first
        yield node, ast.Compare(node.left, [SWAPS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS and not of_texts(node):
        yield node, ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
    if isinstance(node, ast.BoolOp):
        yield node, ast.BoolOp(SWAPS[type(node.op)](), node.values)
    if isinstance(node, ast.AugAssign) and type(node.op) in SWAPS and not of_texts(node):
        yield node, ast.AugAssign(node.target, SWAPS[type(node.op)](), node.value)


def of_texts(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether it joins texts, lists or mappings: another operator would only raise an error."""
    kinds = (ast.JoinedStr, ast.List, ast.Dict, ast.ListComp, ast.DictComp, ast.Tuple, ast.Set)
    parts = [node.value] if isinstance(node, ast.AugAssign) else [node.left, node.right]
    return any(isinstance(p, kinds) or (isinstance(p, ast.Constant) and isinstance(p.value, str)) for p in parts)


def other_numbers(node: ast.AST) -> Change:
    """One more, twice as much, the other of True and False. What only guards a division, below 1e-5, stays."""
    if not isinstance(node, ast.Constant) or isinstance(node.value, (str, bytes, complex, type(None), type(...))):
        return
    value = node.value
    if isinstance(value, bool):
        yield node, ast.Constant(not value)
    elif isinstance(value, int):
        yield node, ast.Constant(value + 1)
    elif value == 0 or abs(value) > 1e-5:
        yield node, ast.Constant(2 * value if value else 1.0)


def without_sign(node: ast.AST) -> Change:
    """x for -x, for ~x and for not x; a whole number with a minus is most often a place counted from the end."""
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        if isinstance(node.operand, ast.Constant) and isinstance(node.operand.value, int):
            return
        yield node, node.operand


def other_calls(node: ast.AST) -> Change:
    """min for max and others alike; a bound, an abs or a detach left out; a keyword left out; two arguments swapped."""
    if not isinstance(node, ast.Call):
        return
    called, name = node.func, getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in NAMES and isinstance(called, ast.Attribute):
        yield node, ast.Call(ast.Attribute(called.value, NAMES[name]), node.args, node.keywords)
    elif name in ("min", "max", "any", "all"):
        yield node, ast.Call(ast.Name(NAMES[name]), node.args, node.keywords)
    if name in DROPPED and isinstance(called, ast.Attribute) and not isinstance(called.value, ast.Name | ast.Attribute):
        yield node, called.value
    for gone in node.keywords if name != "errstate" else ():  # a warning is no value
        if gone.arg not in (None, *OF_DEVICES):
            yield node, ast.Call(called, node.args, [k for k in node.keywords if k is not gone])
    first, second = node.args[:2] if len(node.args) > 1 else (None, None)
    if isinstance(first, ast.Name) and isinstance(second, ast.Name) and name not in ANY_ORDER:
        yield node, ast.Call(called, [second, first, *node.args[2:]], node.keywords)


def other_branches(node: ast.AST) -> Change:
    """The branch that is not meant, where the condition is no comparison, which has changes of its own."""
    test = node.test if isinstance(node, (ast.If, ast.IfExp, ast.While)) else None
    if test is not None and not isinstance(test, (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.NamedExpr)):
        yield test, ast.UnaryOp(ast.Not(), test)


OPERATORS: tuple[Callable[[ast.AST], Change], ...] = (
    other_operators, other_numbers, without_sign, other_calls, other_branches,
)  # fmt: skip


def draws(node: ast.AST) -> bool:
    """Whether a function makes pictures: nobody asserts the size of a letter."""
    if not isinstance(node, ast.FunctionDef) or node.name.startswith(("draw_", "plot_")):
        return isinstance(node, ast.FunctionDef)
    hints = [a.annotation for a in node.args.args] + [node.returns]
    return any(hint is not None and ("Axes" in ast.unparse(hint) or "Figure" in ast.unparse(hint)) for hint in hints)


def is_documentation(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


HIDDEN = ("annotation", "returns", "decorator_list", "pattern", "format_spec")
PASSED_OVER = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)


def worth_changing(node: ast.AST) -> Iterator[ast.AST]:
    """The node and those below it, without errors' texts, annotations, decorators, documentation and pictures."""
    if draws(node) or is_documentation(node) or isinstance(node, PASSED_OVER):
        return
    yield node
    values = [value for name, value in ast.iter_fields(node) if name not in HIDDEN]
    for child in chain.from_iterable(value if isinstance(value, list) else [value] for value in values):
        if isinstance(child, ast.AST):
            yield from worth_changing(child)


def segment(statement: str, node: ast.AST, first_line: int) -> tuple[int, int]:
    """Where a node lies in its statement's text, in bytes."""
    lengths = [len(line) for line in statement.encode().splitlines(keepends=True)]
    place = lambda line, column: sum(lengths[: line - first_line]) + column  # noqa: E731
    return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)


def text_of(node: ast.AST) -> str:
    """Source that stands for the node anywhere."""
    text = ast.unparse(ast.fix_missing_locations(node))
    return text if isinstance(node, (ast.stmt, ast.Constant, ast.Name, ast.Call)) else f"({text})"


def statements(path: Path) -> Iterator[tuple[ast.stmt, str, str]]:
    """Top-level statements of a module that hold numbers: node, source, name."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        name = getattr(node, "name", "") or ast.unparse(getattr(node, "targets", [getattr(node, "target", node)])[0])
        kinds = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
        if isinstance(node, kinds) and name != "__all__":
            yield node, "".join(lines[node.lineno - 1 : node.end_lineno]).rstrip("\n"), name


def changes_of(node: ast.stmt) -> Change:
    """Every change of a statement, in the order of the text."""
    for part in worth_changing(node):
        for operator in OPERATORS:
            yield from operator(part)


def mutants_of(module: str, root: Path) -> list[Mutant]:
    """Every change of a module."""
    found, seen = [], {}
    for node, text, name in statements(root / "advdepth_nb" / f"{module}.py"):
        for old, new in changes_of(node):
            if ast.unparse(old) == ast.unparse(ast.fix_missing_locations(new)):  # two arguments alike, swapped
                continue
            start, end = segment(text, old, node.lineno)
            before, after = text.encode()[start:end].decode(), text_of(new)
            seen[name, before, after] = nth = seen.get((name, before, after), -1) + 1
            found.append(Mutant(module, old.lineno, name, before, after, nth, text, start, end))
    return found


def planted(module: str, function: str, before: str, after: str, root: Path) -> list[Mutant]:
    """The changes of NAMED's line: in each place of the function, or of the module, that reads so."""
    found = []
    for node, text, name in statements(root / "advdepth_nb" / f"{module}.py"):
        pieces = text.split(before) if function in ("", name) else [text]
        for nth in range(len(pieces) - 1):
            head = before.join(pieces[: nth + 1])
            start, line = len(head.encode()), node.lineno + head.count("\n")
            span = (text, start, start + len(before.encode()))
            found.append(Mutant(module, line, name, before, after, nth, *span))
    if not found:
        sys.exit(f"{module} holds no {before!r} in {function or 'any function'}; bring NAMED up to date")
    return found


# ---- the copy they are made in -------------------------------------------------------------------------------------


def copied(root: Path, folder: Path) -> Path:
    """What git knows or does not ignore, in a tree of its own, compiled."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    # What is compiled now stays; a changed module is newer than that, and is compiled anew at each start.
    subprocess.run([sys.executable, "-m", "compileall", "-q", "advdepth_nb"], cwd=folder, check=True)
    return folder


def notebook_of(module: str, tree: Path) -> Path:
    package, name = module.split("/")
    return next(tree.glob(f"nbs/[0-9][0-9]_{package}/{name}.ipynb"))


@contextlib.contextmanager
def changed(mutant: Mutant, tree: Path) -> Iterator[None]:
    """The change in cell and module; afterwards both are as they were, and as old."""
    notebook, module = notebook_of(mutant.module, tree), tree / "advdepth_nb" / f"{mutant.module}.py"
    kept = {path: (path.read_bytes(), path.stat()) for path in (notebook, module)}
    told = json.loads(kept[notebook][0])
    cells = [c for c in told["cells"] if c["cell_type"] == "code" and mutant.statement in "".join(c["source"])]
    source = module.read_text(encoding="utf-8")
    if len(cells) != 1 or source.count(mutant.statement) != 1:
        raise ValueError(f"{mutant.module}: cell and module of {mutant.function} differ; run tools/notebooks.py build")
    try:
        cells[0]["source"] = "".join(cells[0]["source"]).replace(mutant.statement, mutant.changed)
        notebook.write_text(json.dumps(told), encoding="utf-8")
        module.write_text(source.replace(mutant.statement, mutant.changed), encoding="utf-8")
        yield
    finally:
        for path, (content, stat) in kept.items():
            path.write_bytes(content)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# ---- what watches --------------------------------------------------------------------------------------------------

PRELOADED = (
    "IPython", "lightning.fabric", "matplotlib.pyplot", "pandas", "pytest", "scipy.stats", "timm", "torch",
    "torchvision", "kornia", "torchmetrics", "h5py", "safetensors.torch",
)  # fmt: skip


def run_watcher(watcher: str, tree: Path, told) -> None:
    """In a process of its own: a notebook's cells, or a file of tests; sends what stopped it, "" for nothing."""
    os.setsid()
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}
    sys.dont_write_bytecode, sys.path[:0] = True, [str(tree), str(ROOT / "tests")]
    with open(os.devnull, "w") as silence:
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), 2)
    os.chdir(tree)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            if watcher.endswith(".py"):
                import pytest

                status = pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", watcher])
                told.send("a test" if status else "")
            else:
                from test_notebooks import run_cells

                run_cells(notebook_of(watcher, tree), Path(scratch))
                told.send("")
        except BaseException as error:
            told.send(type(error.__cause__ or error).__name__)


def stopped_by(watcher: str, tree: Path, limit: float) -> str:
    """What stopped a watcher: an error's name, "time" after `limit` seconds, "" where it ran to its end."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=run_watcher, args=(watcher, tree, there))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(limit) else "time"
    except EOFError:
        return "a crash"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


class Watch:
    """Runs the watchers of changes, each first without one: for its time, and to know that it passes."""

    def __init__(self, tree: Path) -> None:
        self.tree, self.seconds = tree, {}

    def limit(self, watcher: str) -> float:
        if watcher not in self.seconds:
            begun = time.monotonic()
            if error := stopped_by(watcher, self.tree, 600):
                sys.exit(f"{watcher} fails without any change ({error}); mend it first")
            self.seconds[watcher] = time.monotonic() - begun
        return 20 + 4 * self.seconds[watcher]

    def catches(self, mutant: Mutant) -> str:
        """Which watcher notices, and by what; "" where none does."""
        watchers = (mutant.module, *WATCHED_BY.get(mutant.module, ()))
        limits = {watcher: self.limit(watcher) for watcher in watchers}
        with changed(mutant, self.tree):
            for watcher, limit in limits.items():
                if error := stopped_by(watcher, self.tree, limit):
                    return f"{watcher}: {error}"
        return ""


# ---- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """A line of the table."""

    module: str
    line: str
    function: str
    change: str
    nth: str
    result: str  # "caught" or "survived"
    by: str
    seconds: str

    @property
    def key(self) -> tuple[str, ...]:
        return self.module, self.function, self.change, self.nth


def read_results(path: Path) -> dict[tuple[str, ...], Result]:
    """The last result of each change in the table."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {result.key: result for result in (Result(**line) for line in csv.DictReader(file))}


def append(result: Result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Result)])
        if fresh:
            writer.writeheader()
        writer.writerow(vars(result))


def equivalents(root: Path) -> dict[tuple[str, ...], str]:
    """Changes that alter nothing anybody may rely on, with the reason each."""
    path = root / "tools" / "equivalent_mutants.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {(x["module"], x["function"], x["change"], x["nth"]): x["reason"] for x in csv.DictReader(file)}


def sample(modules: Sequence[str], root: Path, seed: int) -> Iterator[Mutant]:
    """All changes of the modules in random order, one from each in turn."""
    by_module = []
    for module in modules:
        found = mutants_of(module, root)
        random.Random(f"{seed} {module}").shuffle(found)
        by_module.append(found)
    for turn in zip_longest(*by_module):
        yield from (mutant for mutant in turn if mutant is not None)


def chosen(options: argparse.Namespace, done: dict[tuple[str, ...], Result]) -> list[Mutant]:
    """The changes that a call is about, those that are done already among them."""
    root, known = options.root, equivalents(options.root)
    if options.named:
        found = [m for line in NAMED for m in planted(*line, root)]
        found = [m for m in found if not options.modules or m.module in options.modules]
    else:
        found = sample(options.modules or list(WATCHED_BY), root, options.seed)
    if options.again:
        found = [m for m in found if m.key in done and done[m.key].result == "survived"]
    candidates = (m for m in found if m.key not in known)
    return list(candidates if options.named or options.again else islice(candidates, options.count))


def summary(results: Sequence[Result]) -> tuple[str, bool]:
    """Counts and survivors as text, and whether enough were caught."""
    lost = [r for r in results if r.result == "survived"]
    caught = len(results) - len(lost)
    asserted = sum(r.by.endswith((": AssertionError", ": a test", ": Failed")) for r in results)
    share = caught / len(results) if results else 1.0
    lines = [f"{caught} of {len(results)} changes caught ({share:.1%}), {asserted} of them by an assertion"]
    lines += [f"survived: {r.module}:{r.line} {r.function}: {r.change} ({r.nth})" for r in lost]
    return "\n".join(lines), share >= ENOUGH


def options_of(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="how many changes")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--modules", nargs="+", default=[], metavar="NAME", help="such as losses/gan")
    parser.add_argument("--named", action="store_true", help="the changes of NAMED instead of a sample")
    parser.add_argument("--again", action="store_true", help="those that survived so far")
    parser.add_argument("--list", action="store_true", help="name the changes, run nothing")
    parser.add_argument("--out", type=Path, help="the table; default: results/mutations.csv")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the tree")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    options = options_of(words)
    out = options.out or options.root / "results" / "mutations.csv"
    done = read_results(out)
    mutants = chosen(options, done)
    if options.list:
        print("\n".join(f"{m.module}:{m.line} {m.function}: {m.change} ({m.nth})" for m in mutants))
        return 0
    todo = [m for m in mutants if options.again or m.key not in done]
    for name in PRELOADED if todo else ():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(copied(options.root, Path(folder).resolve())) if todo else None
        for i, mutant in enumerate(todo):
            begun = time.monotonic()
            by = watch.catches(mutant)
            word, seconds = "caught" if by else "survived", f"{time.monotonic() - begun:.1f}"
            line = (mutant.module, str(mutant.line), mutant.function, mutant.change, str(mutant.nth))
            append(Result(*line, word, by, seconds), out)
            print(f"{i + 1}/{len(todo)} {word} {mutant.module}:{mutant.line} {mutant.change} [{by}]", flush=True)
    done = read_results(out)
    text, enough = summary([done[m.key] for m in mutants])
    print(text)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
