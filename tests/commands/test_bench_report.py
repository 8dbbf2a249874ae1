"""The JSON file of a benchmark holds every case that was measured, whatever ends it."""

import json

from rnnlab.commands._bench_report import FORMAT, Report


def test_the_file_grows_with_each_case(tmp_path):
    path = tmp_path / "found.json"
    report = Report("start", {"cores": 2}, {"repeats": 3}, path)
    assert not path.exists(), "there is nothing to keep yet"
    for number in range(2):
        report.add({"case": number})
        found = json.loads(path.read_text())
        assert found["cases"] == [{"case": n} for n in range(number + 1)]
    assert (found["format"], found["benchmark"], found["settings"]) == (FORMAT, "start", {"repeats": 3})
    assert next(iter(found["machine"])) == "rnnlab"
    assert found["machine"]["cores"] == 2
    assert set(found["load_average"]) == {"start", "end"}


def test_without_a_file_the_report_is_kept_all_the_same(tmp_path):
    report = Report("train", {}, {}, None)
    report.add({"case": 0})
    assert report.content["cases"] == [{"case": 0}]
    assert list(tmp_path.iterdir()) == []
