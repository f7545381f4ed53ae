"""The flow, run in this process, without Ray. Its files are in memory."""

from koco import testing
from __PACKAGE__.app import words

DOCUMENTS = {"in/a.txt": b"To be, or not to be.", "in/b.txt": b"Be that as it may."}


def test_it_counts_each_document():
    outcome = testing.run(words, {"documents": [*DOCUMENTS], "top": 2}, files=DOCUMENTS)
    assert outcome.status == "finished"
    assert "| in/a.txt | 6 | to, be |" in outcome.result["body"]
    assert "| in/b.txt | 5 | " in outcome.result["body"]


def test_it_leaves_a_table_of_all_words():
    outcome = testing.run(words, {"documents": [*DOCUMENTS]}, files=DOCUMENTS)
    table = outcome.files["out/words.csv"].decode().splitlines()
    assert table[:3] == ["word,count", "be,3", "to,2"]
