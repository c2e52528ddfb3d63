"""What `submit`, `jobs`, `logs` and `cancel` make of a job server's answers, good and bad."""

from __future__ import annotations

import ast
import io
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import supclap_platform
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.commands import jobs as command
from supclap_platform.commands.run_options import PLACES, passed_on
from supclap_platform.commands.submit import OWN
from supclap_platform.running import jobs as server
from supclap_platform.running.job_places import JOB, check_given, check_in_job
from supclap_platform.running.submit import Request, contents, pack

from supclap.errors import InputError

GONE = RuntimeError("Request failed with status code 404: Job j does not exist.")
ADDRESS = "http://head:8265"


def info(state: str, code: int | None = None, message: str = "") -> Any:
    return SimpleNamespace(
        status=SimpleNamespace(value=state), driver_exit_code=code, message=message
    )


class Server:
    """A job server that plays a script: one list of texts for each connection, the last of which
    breaks where it is an error; then one answer for each question about the job."""

    def __init__(self, tails: list[list[str | Exception]], answers: list[Any]) -> None:
        self.tails, self.answers = tails, answers
        self.stopped: list[str] = []

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for text in self.tails.pop(0) if self.tails else []:
            if isinstance(text, Exception):
                raise text
            yield text

    def get_job_info(self, job: str) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get_job_logs(self, job: str) -> str:
        return "all that it said\n"

    def stop_job(self, job: str) -> None:
        self.stopped.append(job)

    def list_jobs(self) -> list[Any]:
        def job(name: str, began: int, ours: bool = True) -> Any:
            about = {"supclap experiment": "tiny", "supclap command": "--mixed"} if ours else None
            state = SimpleNamespace(value="RUNNING")
            return SimpleNamespace(
                submission_id=name, status=state, metadata=about, start_time=began, end_time=61000
            )

        driver = SimpleNamespace(submission_id=None, metadata=None)  # no submitted job at all
        return [job("tiny-a1", 1000), job("tiny-b2", 2000), job("other", 3, ours=False), driver]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "POLL", 0.0)


def follow(client: Server) -> tuple[int, str]:
    said: list[str] = []
    return server.follow(client, "j", said.append, warn=pytest.fail), "".join(said)


def test_output_over_several_connections_is_said_once() -> None:
    lost = ConnectionError("reset")
    tails: list[list[str | Exception]] = [["one\n", "tw", lost], ["one\ntwo\n", lost], ["one\n"]]
    tails.append(["one\ntwo\nthree\n"])
    answers = [info("RUNNING"), OSError("away"), info("RUNNING"), info("SUCCEEDED", 0)]
    assert follow(Server(tails, answers)) == (0, "one\ntwo\nthree\n")


def test_what_was_said_after_the_last_connection_is_said_too() -> None:
    broken: list[list[str | Exception]] = [["all that", ConnectionError("reset")]]
    assert follow(Server(broken, [info("FAILED", 3)])) == (3, "all that it said\n")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-9, "SIGKILL (out of memory?)"),
        (137, "SIGKILL (out of memory?)"),
        (-11, "SIGSEGV"),
        (143, "SIGTERM"),
    ],
)
def test_a_run_that_was_killed_ends_in_one_line_that_says_how_to_go_on(
    code: int, reason: str
) -> None:
    """What was killed could say nothing itself, and its code is no word of `supclap run`'s."""
    warned: list[str] = []
    client = Server(
        [["one\n"]], [info("FAILED", code, "Job entrypoint command failed\nwith a log")]
    )
    assert server.follow(client, "j", lambda text: None, warned.append) == 1
    goes_on = "every finished cell is kept, and the same `supclap submit` goes on"
    assert warned == [f"job j: its `supclap run` was killed by {reason}; {goes_on}"]


@pytest.mark.parametrize("code", [1, 2, 3, 130, 255])
def test_the_exit_code_of_a_run_that_has_ended_by_itself_is_passed_on(code: int) -> None:
    assert follow(Server([["one\n"]], [info("FAILED", code)]))[0] == code


def test_what_ray_says_of_itself_is_left_out() -> None:
    own = "2026-11-28 21:45:41,198\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
    pieces: list[str | Exception] = [own[:30], own[30:] + "Running entrypoint for job j: x\n", "1"]
    pieces += ["0 INFO of the run\n", "no end"]
    assert follow(Server([pieces], [info("SUCCEEDED", 0)])) == (0, "10 INFO of the run\nno end")


def test_a_quiet_connection_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    class Asleep(Server):
        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            async for text in super().tail_job_logs(job):
                yield text
            if self.tails:
                await asyncio.sleep(60)  # as a connection whose other end is gone

    monkeypatch.setattr(server, "QUIET", 0.01)
    client = Asleep([["one\n"], ["one\ntwo\n"]], [info("RUNNING"), info("SUCCEEDED", 0)])
    assert follow(client) == (0, "one\ntwo\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (GONE, "no longer knows it (its head has restarted?)"),
        (
            OSError("refused"),
            f": `supclap logs tiny-a1 --follow --address {ADDRESS}` shows it",
        ),
    ],
)
def test_a_head_that_restarts_or_stays_away_is_one_line(
    answer: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Server([["one\n", ConnectionError("reset")]], [answer])
    monkeypatch.setattr(server, "follow", partial(server.follow, patience=0.0))
    monkeypatch.setattr(server, "connect", lambda address: client)
    done = CliRunner().invoke(main, ["logs", "tiny-a1", "--follow", "--address", ADDRESS])
    assert done.exit_code == 1
    assert done.stdout == "one\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("supclap: job tiny-a1: ")
    assert words in line


def test_jobs_are_listed_chosen_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Server([], [info("RUNNING"), info("STOPPED")])
    monkeypatch.setattr(server, "connect", lambda address: client)

    def invoke(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, [*words, "--address", ADDRESS])
        return done.exit_code, done.output

    code, output = invoke("jobs")
    lines = [line.split() for line in output.splitlines()]
    assert code == 0
    assert lines[0] == ["job", "state", "began", "took", "experiment", "options"]
    assert [line[0] for line in lines[1:]] == ["tiny-b2", "tiny-a1", "and"]  # the newest first
    assert lines[2][5:] == ["1", "min", "00", "s", "tiny", "--mixed"]
    assert lines[3] == ["and", "1", "job", "of", "other", "programs"]
    assert server.choose(client, None) == "tiny-b2"
    assert invoke("logs") == (0, "all that it said\n")
    code, output = invoke("cancel", "tiny-a")
    assert (code, client.stopped) == (0, ["tiny-a1"])
    assert output.startswith("job tiny-a1: stopped; the same `supclap submit` goes on")
    assert invoke("cancel", "tiny-") == (
        2,
        "supclap: job tiny-: several jobs begin so (tiny-b2, tiny-a1)\n",
    )
    assert invoke("logs", "x")[0] == 2


@pytest.mark.heavy
def test_what_is_uploaded_is_one_small_file_of_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("experiment: e\n", encoding="utf-8")
    request = Request(tmp_path / "e.yaml")
    content = pack(request, tmp_path / "a.zip").read_bytes()
    assert content == pack(request, tmp_path / "b.zip").read_bytes()
    unpacked = zipfile.ZipFile(io.BytesIO(content))
    assert {name: unpacked.read(name) for name in unpacked.namelist()} == contents(request)
    assert len(content) < 0.5 * sum(map(len, contents(request).values()))


def parameters(name: str) -> dict[str, click.Option]:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return {str(one.name): one for one in found.params if isinstance(one, click.Option)}


def test_submit_takes_what_run_takes() -> None:
    run, submit = parameters("run"), parameters("submit")
    # Of an own Ray; a job joins the cluster that it is on.
    assert run.keys() - submit.keys() == {"cpus"}
    # Of the job itself. --address is a cluster for the one, its job server for the other.
    assert submit.keys() - run.keys() == {"variables", "dry_run", "no_wait"}
    for name in run.keys() & submit.keys() - {"address", "storage"}:
        one, other = run[name].to_info_dict(), submit[name].to_info_dict()
        assert one == other, name


@pytest.mark.heavy
def test_no_message_of_a_run_names_an_option_that_submit_lacks() -> None:
    """Read off the sources: whatever an error of a job recommends can be given to `submit`."""
    known = {flag for option in parameters("submit").values() for flag in option.opts}
    # An own Ray's cores, where the option is made; `promote`'s and `logs`' own.
    known |= {"--cpus", "--row", "--follow"}
    root = Path(str(supclap_platform.__file__)).parent
    files = [root / "commands" / f"{name}.py" for name in ("run", "rounds", "stale", "only", "now")]
    for folder in ("search", "running", "ledger", "mirror", "experiment"):
        files += sorted((root / folder).glob("*.py"))
    named = {
        flag
        for file in files
        for text in messages(ast.parse(file.read_text(encoding="utf-8")))
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    assert {"--mixed", "--rerun-stale", "--storage", "--study-storage"} <= named
    assert named <= known


def messages(tree: ast.Module) -> Iterator[str]:
    """The texts of a module that are no docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    docs = {id(first.value) for first in bodies if isinstance(first, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_every_option_reaches_the_run_as_it_was_given() -> None:
    """Each option of `run`, given to `submit`, is what `run` then parses."""
    run = main.get_command(click.Context(main), "run")
    submit = main.get_command(click.Context(main), "submit")
    assert run is not None
    assert submit is not None
    given = ["e.yaml", "--profile", "paper", "--set", "a=-1", "--set", "b={c: d e}", "--no-code"]
    given += ["--only", "A B", "--only", "-x", "--seed", "3", "--mixed", "--rerun-stale", "R"]
    given += ["--rerun-stale", "--storage", "s3://b/c", "--tracking-uri", "http://m:5000"]
    given += ["--study-storage", "postgresql://h/n"]
    named = {word for word in given if word.startswith("--")}
    both = parameters("run").keys() & parameters("submit").keys() - {"address"}
    assert named == {parameters("run")[name].opts[0] for name in both}  # none is left out
    context = submit.make_context("submit", [*given, "--address", ADDRESS])
    words, variables = passed_on(context, OWN)
    assert variables == {}
    again = run.make_context("run", ["e.yaml", *words])
    for name in both:
        assert again.params[name] == context.params[name], name


def test_a_place_with_a_secret_is_passed_on_as_a_variable() -> None:
    submit = main.get_command(click.Context(main), "submit")
    assert submit is not None
    for name, variable in PLACES.items():
        secret = "x://user:S3CRET@host/n"
        option = f"--{name.replace('_', '-')}"
        context = submit.make_context("s", ["e.yaml", "--address", ADDRESS, option, secret])
        assert passed_on(context, OWN) == ([], {variable: secret})


@pytest.mark.parametrize(
    ("option", "place"),
    [
        ("--storage", "results"),
        ("--storage", "./results"),
        ("--storage", "~/results"),
        ("--tracking-uri", "sqlite:///mlflow.db"),
        ("--study-storage", "sqlite:///study.db"),
        ("--env", "SUPCLAP_STORAGE=results"),
    ],
)
def test_a_relative_place_is_refused_before_anything_is_asked_of_the_cluster(
    option: str, place: str, tmp_path: Path
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("experiment: e\nvariants: {A: {}}\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["submit", str(path), "--address", ADDRESS, option, place])
    assert done.exit_code == 2
    named = place.partition("=")[2] or place
    assert f"{option} " in done.output
    assert f"{named}: not a whole path, and a job's folder is cleared away" in done.output
    assert "s3://BUCKET/NAME" in done.output


@pytest.mark.parametrize(
    ("option", "place", "words"),
    [
        ("--storage", "s4://b/x", "s4://b/x: no store is addressed by 's4://'; did you mean"),
        ("--storage", "gs:/b/x", "gs:/b/x: an address has two slashes: gs://b/x"),
        ("--env", "SUPCLAP_STORAGE=s4://b/x", "SUPCLAP_STORAGE: s4://b/x: no store is addressed"),
        ("--tracking-uri", "s3://b/x", "tracking URI 's3://b/x': expected http(s)://HOST:PORT"),
        ("--tracking-uri", "mlruns", "tracking URI 'mlruns': expected http(s)://HOST:PORT"),
        ("--study-storage", "postgresl://h/n", "postgresl://h/n: expected a database"),
        ("--study-storage", "s3:/b/x", "s3:/b/x: expected a database as SQLAlchemy names it"),
        ("--study-storage", "/shared/study.db", "/shared/study.db: expected a database"),
    ],
)
def test_what_is_no_place_anywhere_is_refused_here_and_not_in_the_job(
    option: str, place: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text("experiment: e\nvariants: {A: {}}\n", encoding="utf-8")
    given = ["submit", str(path), "--address", ADDRESS, "--dry-run", option, place]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"supclap: {option}")
    assert words in line


def test_a_database_of_any_known_kind_is_a_place_on_the_cluster() -> None:
    for name, place in (
        ("study_storage", "postgresql://h/n"),
        ("study_storage", "postgresql+psycopg://u@h:5/n"),
        ("study_storage", "mysql+pymysql://h/n"),
        ("study_storage", "sqlite:////shared/study.db"),
        ("tracking_uri", "http://mlflow:5000"),
        ("tracking_uri", "databricks"),
        ("tracking_uri", "postgresql://h/n"),
        ("tracking_uri", "sqlite:////shared/mlflow.db"),
    ):
        check_given(name, name, place, ADDRESS)


def test_a_folder_of_this_machine_alone_is_refused_for_a_cluster_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supclap_platform.running import job_places

    own = str(tmp_path / "results")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path))
    for place in (own, f"file://{own}"):
        with pytest.raises(InputError, match="a folder of this machine alone"):
            check_given("storage", "--storage", place, ADDRESS)
        check_given(
            "storage", "--storage", place, "http://127.0.0.1:8265"
        )  # here, or through a tunnel
    check_given("storage", "--storage", "/shared/results", ADDRESS)
    check_given("storage", "--storage", "s3://bucket/results", ADDRESS)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nserver:/ {tmp_path.resolve()} nfs4 rw 0 0\n")
    shared: Callable[..., bool] = job_places._is_shared
    monkeypatch.setattr(job_places, "_is_shared", lambda path: shared(path, mounts))
    check_given("storage", "--storage", own, ADDRESS)  # a home that every machine mounts


def test_in_a_job_no_result_goes_where_ray_clears_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_in_job("supclap-results", ("sqlite:///mlflow.db",))  # at home it is fine
    monkeypatch.setenv(JOB, "{}")
    check_in_job(str(tmp_path / "results"), ("http://127.0.0.1:5000", None))
    check_in_job(str(tmp_path / "results"), ("databricks", None))  # no folder: MLflow's word
    with pytest.raises(InputError, match="an address has two slashes: s3://bucket/x"):
        check_in_job("s3:/bucket/x", ())  # a cluster's own setting
    for storage, others, words in (
        ("supclap-results", (None,), "supclap-results: a job's own folder"),
        (str(tmp_path), ("sqlite:///m.db",), "sqlite:///m.db: a job's own folder"),
        ("/absent/of/laptop", (None,), "the cluster's head has no folder /absent/of"),
    ):
        with pytest.raises(InputError, match="set SUPCLAP_STORAGE") as caught:
            check_in_job(storage, others)
        assert words in str(caught.value)


def test_following_ends_by_ctrl_c_and_the_job_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    class Impatient(Server):
        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            yield "one\n"
            raise KeyboardInterrupt

    assert command.followed(Impatient([], [info("RUNNING")]), "j", ADDRESS) == 130
    assert "the job goes on; to end it: supclap cancel j" in capsys.readouterr().out
