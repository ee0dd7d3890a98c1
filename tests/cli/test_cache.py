"""The cache of decoded images: shown, and deleted without anything else beside it."""

from __future__ import annotations

from vla_agent import cli
from vla_agent.data.lerobot.frame_cache import default_cache


def test_the_cache_is_shown_and_cleared_and_other_files_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VLA_AGENT_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    (tmp_path / "frames-0123-front.npy").write_bytes(bytes(20_000_000))
    (tmp_path / "mine.txt").write_text("keep")
    assert cli.main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert str(tmp_path) in shown and "0.02 GB" in shown
    assert cli.main(["cache", "clear"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
