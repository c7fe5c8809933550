"""Whose a folder is, and folders that are this user's alone whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import ownership
from engine.compiling import CACHE
from engine.errors import UserError
from engine.ownership import is_ours, make_folder, make_private, private
from engine.runs import RunFolder, create, prepare_root, runs_root


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
def test_folders_above_that_are_missing_are_as_private_as_the_one_below(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert {mode(tmp_path / part) for part in ("a", "a/b", "a/b/c")} == {0o700}
    (tmp_path / "plain" / "x").mkdir(mode=0o700, parents=True)
    assert mode(tmp_path / "plain") == 0o777, "what pathlib makes of the folders above"


def test_what_is_there_stays_and_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    make_folder(tmp_path / "there")
    assert mode(tmp_path / "there") == 0o755
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            make_folder(folder)


def test_a_private_folder_is_closed_to_writing_by_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    make_private(tmp_path)
    assert mode(tmp_path) == 0o755


@pytest.mark.usefixtures("no_umask")
@pytest.mark.parametrize("bits", [0o770, 0o707, 0o1777])
def test_where_others_write_is_not_ours_be_it_sticky_or_not(tmp_path: Path, bits: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    assert is_ours(folder) is (mode(folder) == 0o700)
    folder.chmod(bits)
    assert not is_ours(folder)
    folder.chmod(0o700)
    assert is_ours(folder)


def test_a_shared_folder_is_neither_used_nor_taken_from_the_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(UserError, match=r"cannot be used: it is shared by all; give another one with --runs"):
        create(tmp_path, "", {}, {})
    assert mode(tmp_path) == 0o777 | stat.S_ISVTX


def test_a_link_is_not_ours_and_one_of_anothers_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    assert not is_ours(link)
    make_private(link)
    real = os.lstat

    def of_another_user(path: os.PathLike[str]) -> os.stat_result:
        found = real(path)
        return os.stat_result([*found[:4], os.geteuid() + 1, *found[5:]])

    monkeypatch.setattr(os, "lstat", of_another_user)
    with pytest.raises(PermissionError, match="belongs to another user"):
        make_private(link)


@pytest.mark.mutant
@pytest.mark.parametrize("bits", [0o770, 0o1777])
def test_mutant_without_the_look_at_modes_others_are_trusted(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    run.path.parent.chmod(bits)
    assert run.view().read_only
    monkeypatch.setattr(ownership, "_OTHERS_WRITE", 0)
    assert not run.view().read_only


@pytest.mark.mutant
def test_mutant_without_the_look_at_owners_another_user_is_trusted(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not private(run.path)
    with pytest.raises(UserError, match="belongs to another user"):
        prepare_root(run.path.parent)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(run.path).st_uid)
    assert private(run.path)


class TestLinkedRoot:
    """Runs are often kept on another disk, by a link."""

    def test_a_link_to_a_runs_folder_is_that_folder(self, root: Path, tmp_path: Path) -> None:
        root.mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(root)
        run = create(runs_root(tmp_path / "link"), "", {}, {})
        assert run.path.parent == root
        assert not run.view().read_only
        assert create(tmp_path / "link", "", {}, {}).path.parent == root

    def test_what_was_judged_is_used_wherever_the_link_leads_later(self, root: Path, tmp_path: Path) -> None:
        root.mkdir(mode=0o700)
        link = tmp_path / "link"
        link.symlink_to(root)
        found = runs_root(link)
        link.unlink()
        link.symlink_to("/")
        assert found == root


class TestWhereRunsAre:
    @pytest.mark.parametrize("named", ["file", "file/below", "x" * 5000])
    def test_a_runs_folder_that_cannot_be_listed_is_a_sentence(self, tmp_path: Path, named: str) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"the runs folder .* cannot be read: .*; give another one with --runs"):
            runs_root(tmp_path / named)

    def test_one_that_is_closed_to_us_too(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(UserError, match="cannot be read: Permission denied"):
            runs_root(root)

    def test_a_link_that_may_not_be_read_too(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os.path, "realpath", refuse)
        with pytest.raises(UserError, match="cannot be read: Permission denied"):
            runs_root(root)
        with pytest.raises(UserError, match="cannot be used: Permission denied"):
            prepare_root(root)

    def test_a_trap_beside_it_is_not_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a folder of strangers, such as /tmp, anything may be called pyproject.toml."""
        monkeypatch.chdir(tmp_path)
        os.mkfifo("pyproject.toml")
        assert runs_root().parts[-2:] == ("cifar-tui", "runs")
        os.unlink("pyproject.toml")
        os.symlink("/dev/zero", "pyproject.toml")
        assert runs_root().parts[-2:] == ("cifar-tui", "runs")


@pytest.mark.usefixtures("no_umask")
def test_caches_and_runs_and_all_above_them_are_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import compiling, counts_cache
    from engine.counts_cache import Counts
    from engine.options.architecture import Vgg

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE, "")
    folders = [Path(os.environ[name]) for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME")]
    counts_cache.store(Vgg(), Counts(1, 1, 1, 1, (), 3, 32, 10, 8, "auto"))
    assert compiling.prepare(create(runs_root(), "", {}, {"name": "x"})) == ""
    written = [path for folder in folders for path in (folder, *folder.rglob("*")) if path.exists()]
    assert len(written) > 12
    assert {path.name for path in written if mode(path) & 0o077} == set()


def test_counts_that_another_user_may_have_put_there_are_not_believed() -> None:
    from engine import counts_cache
    from engine.counts_cache import Counts
    from engine.options.architecture import Vgg

    asked = (Vgg(), 3, 32, 10, 8, "auto")
    counts_cache.store(Vgg(), Counts(1, 1, 1, 1, (), 3, 32, 10, 8, "auto"))
    assert counts_cache.lookup(*asked) is not None  # type: ignore[arg-type]
    (Path(os.environ["XDG_CACHE_HOME"]) / "cifar-tui" / "counts").chmod(0o777)
    assert counts_cache.lookup(*asked) is None  # type: ignore[arg-type]
