def test_curves_of_runs_are_drawn_into_one_picture(typed_in, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.csv").write_text("epoch,loss,val_loss\n0,1.0,1.1\n1,0.5,0.7\n")
    lamina = typed_in(tmp_path)
    assert lamina("curves", "a", "b/results.csv", "-o", "both.svg") == (0, "both.svg\n", "")
    text = (tmp_path / "both.svg").read_text()
    assert text.startswith("<?xml")


def test_a_missing_run_and_a_wrong_kind_of_picture_are_named(typed_in, tmp_path):
    lamina = typed_in(tmp_path)
    code, _, said = lamina("curves", "nowhere")
    assert code == 1
    assert "nowhere" in said
    assert "There is no folder nowhere. Folders of runs, or their results.csv, were expected." in said
    (tmp_path / "photos").mkdir()
    assert "photos has no results.csv." in lamina("curves", "photos")[2]
    (tmp_path / "photos").rmdir()
    code, _, said = lamina("curves", "a", "-o", "both.doc")
    assert "ends in .png, .svg or .pdf" in said
    assert not list(tmp_path.iterdir())
