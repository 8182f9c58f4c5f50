"""Memory that is left."""

import pytest

from lamina.data import memory


def test_copies_of_files_within_a_container_count_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 500\nactive_file 100\n")
    assert memory.free_bytes() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes() > 1000


@pytest.mark.parametrize(("told", "processes"), [(None, 3), ("2", 2)])
def test_torchrun_tells_how_many_share_it(monkeypatch, told, processes):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if told is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", told)
    assert memory.processes_here(3) == processes
