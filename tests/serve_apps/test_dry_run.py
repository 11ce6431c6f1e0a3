"""`flow train --dry-run` and `--rank-groups` as somebody runs them: one JSON object, or a sentence with a line."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster.run.cli.main import app

COLUMNS = "user=who,item=what,label=stars,time=when"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments])


def dry(path: Path, *more: str, models: str = "popularity,item_knn,ease,als") -> Result:
    return run("--data", str(path), "--columns", COLUMNS, "--models", models, "--dry-run", "--json", *more)


def results(result: Result) -> dict[str, dict[str, float]]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, dict[str, float]] = json.loads(result.stdout)
    return found


def error(result: Result) -> str:
    """The sentence; the answer is a typed error and no stack trace."""
    assert result.exit_code == 1
    assert not result.exception or isinstance(result.exception, SystemExit)
    assert json.loads(result.stdout)["error"]["code"] in ("training_data_invalid", "invalid_request")
    assert "Traceback" not in result.stderr
    return str(json.loads(result.stdout)["error"]["message"])


def two_tastes(path: Path, people: int = 40, header: str = "who,what,stars,when") -> Path:
    chance = random.Random(3)
    lines = [header]
    for person in range(people):
        own = [f"{'jazz' if person % 2 else 'python'}-{number}" for number in range(15)]
        lines += [
            f"p{person},{item},{5 - place % 3},{1000 + place}" for place, item in enumerate(chance.sample(own, 12))
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return two_tastes(tmp_path / "rows.csv")


def test_one_json_object_and_nothing_else(data: Path) -> None:
    result = dry(data, "--positive", "4")
    found = results(result)
    assert set(found) == {"popularity", "item_knn", "ease", "ease_cut", "als"}
    for metrics in found.values():
        assert {"recall@10", "ndcg@10", "map@10", "mrr", "coverage@10", "novelty@10", "people"} <= metrics.keys()
    assert found["ease"]["ndcg@10"] > found["popularity"]["ndcg@10"]
    assert "ndcg@10" in result.stderr


def test_the_same_seed_gives_the_same_numbers(data: Path) -> None:
    assert results(dry(data, "--seed", "3")) == results(dry(data, "--seed", "3"))


def test_a_table_for_people_says_who_wins(data: Path) -> None:
    result = run("--data", str(data), "--columns", COLUMNS, "--models", "popularity,ease", "--dry-run")
    assert result.exit_code == 0
    assert "is best on ndcg@10" in result.stdout


def test_a_given_split_needs_no_times(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("who,what,stars\n" + "".join(f"p{n},i{n % 7},5\np{n},i{(n + 1) % 7},5\n" for n in range(40)))
    test.write_text("who,what,stars\n" + "".join(f"p{n},i{(n + 2) % 7},5\np{n},new,5\n" for n in range(40)))
    columns = "user=who,item=what,label=stars"
    result = run(
        "--data", str(train), "--test", str(test), "--columns", columns, "--dry-run", "--json", "--models", "ease"
    )
    found = results(result)
    assert found["ease"]["people"] == 40
    assert found["ease"]["recall@10:cold_items"] <= 1


def test_a_test_part_of_strangers_is_said_to_be_one(data: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("who,what,stars,when\nnobody,jazz-1,5,9\n")
    result = dry(data, "--test", str(test))
    assert results(result)["ease"]["ndcg@10:cold_people"] >= 0
    assert "unknown to the training part" in " ".join(result.stderr.split())


def test_without_a_label_column_every_row_is_liked(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("user;item;time\n" + "".join(f"p{n};i{n % 5 + m};{m}\n" for n in range(30) for m in range(6)))
    result = run("--data", str(path), "--dry-run", "--json", "--models", "ease")
    assert results(result)["ease"]["people"] == 30


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "line 1: the file is empty"),
        ("\n\n", "line 1: there is no header"),
        ("who,what,stars,when\n", "no interactions"),
        ("who,what,stars\na,b,5\n", "line 1: no column for the time"),
        ("who,what,stars,when,who\na,b,5,1,a\n", "line 1: more than one column for the user"),
        ("who,what,stars,when\na,b,5,1\na,c,good,2\n", "line 3: the rating 'good' is not a number"),
        ("who,what,stars,when\na,b,nan,1\n", "line 2: the rating nan is not a finite number"),
        ("who,what,stars,when\na,b,inf,1\n", "line 2: the rating inf is not a finite number"),
        ("who,what,stars,when\na,b,splendid,1\n", "line 2: 'splendid' is not one of the actions"),
        ("who,what,stars,when\na,b,5,soon\n", "line 2: the time 'soon' is neither"),
        ("who,what,stars,when\na,b,5\n", "line 2: 3 columns where the header has 4"),
        ('who,what,stars,when\na,"b,5,1\n', "line 2"),
        ("who,what,stars,when\na,b,1,1\na,c,2,2\n", "Nobody liked anything"),
        (b"who,what,stars,when\na,\xff\xfeb,5,1\n", "not UTF-8"),
        ("who,what,stars,when\na,b,5,1\n".encode("utf-16"), "not UTF-8"),
        (b"who,what,stars,when\na,b\x00,5,1\n", "line"),
        (bytes(range(256)) * 20, "line 1"),
    ],
)
def test_bad_files_are_told_with_their_line(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if content == b"who,what,stars,when\na,b\x00,5,1\n":
        result = dry(path, models="popularity")
        assert result.exit_code in (0, 1)
        return
    assert sentence in error(dry(path, "--positive", "4"))


def test_a_byte_order_mark_is_none_of_the_name(tmp_path: Path) -> None:
    path = two_tastes(tmp_path / "rows.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert results(dry(path, models="popularity"))["popularity"]["people"] > 0


@pytest.mark.parametrize("rows", [["a,b,5,1"], ["a,b,5,1"] * 3, ["a,b,5,1", "a,c,5,2"], ["a,b,5,1", "c,b,5,2"]])
def test_one_person_one_item_and_doubles_are_too_little_and_said_to_be(tmp_path: Path, rows: list[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["who,what,stars,when", *rows]) + "\n")
    result = dry(path)
    assert results(result) == {"popularity": {}, "item_knn": {}, "ease": {}, "ease_cut": {}, "als": {}}
    assert "Too little data" in result.stderr


def test_features_that_are_no_numbers_are_counted(data: Path, tmp_path: Path) -> None:
    features = tmp_path / "items.csv"
    features.write_text("what,genres,price\njazz-1,music|night,5\njazz-2,music,nan\njazz-3,,inf\n")
    result = dry(data, "--item-features", str(features), models="popularity")
    assert results(result)
    assert "items.csv, price: 2 values are no finite numbers" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name,genres\nx,y\n", "line 1: no column for the item"),
        ("what,genres\nx,y,z\n", "line 2: 3 columns"),
        ("what,genres\nx,y\nx,z\n", "line 3: the item 'x' has a line already"),
    ],
)
def test_bad_features_are_told_with_their_line(data: Path, tmp_path: Path, content: str, sentence: str) -> None:
    features = tmp_path / "items.csv"
    features.write_text(content)
    assert sentence in error(dry(data, "--item-features", str(features)))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dry-run",),
        ("--data", "x.csv", "--columns", "user=a,colour=b", "--dry-run"),
        ("--data", "x.csv", "--columns", "user", "--dry-run"),
        ("--data", "x.csv", "--models", "ease,magic", "--dry-run"),
        ("--data", "x.csv", "--serve", "magic"),
        ("--data", "no such file.csv", "--dry-run"),
    ],
)
def test_wrong_options_are_told(arguments: tuple[str, ...]) -> None:
    assert error(run("--json", *arguments))


def ranking(path: Path, groups: int = 60) -> Path:
    """What is near its group's smallest price is liked; the price itself says nothing across groups."""
    chance = random.Random(5)
    lines = ["who,what,stars,price,noise,day"]
    for group in range(groups):
        base = chance.uniform(0, 1000)
        prices = [base + chance.uniform(0, 10) for _ in range(6)]
        for item, price in enumerate(prices):
            liked = int(price == min(prices))
            lines.append(f"g{group},i{item},{liked},{price},{chance.choice(['nan', '1', '2'])},2024-01-0{item + 1}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rankers_are_compared_by_map_over_groups(tmp_path: Path) -> None:
    path = ranking(tmp_path / "pairs.csv")
    result = run("--data", str(path), "--columns", "user=who,item=what,label=stars", "--rank-groups", "--json")
    found = results(result)
    assert set(found) == {"random", "best_feature", "gradient_boosting", "extra_trees", "blend"}
    assert found["gradient_boosting"]["map"] > 0.9 > found["random"]["map"]
    assert found["blend"]["groups"] == 60
    assert "pairs.csv, noise:" in result.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("who,what,stars,x\na,b,1,1\na,c,0,1\n", "fewer than two groups"),
        ("who,what,stars,x\na,b,1,1\nc,b,1,1\n", "say the same"),
        ("who,what,stars,x\na,b,1,1\na,b,0,1\n", "line 3: this pair has a line already"),
        ("who,what,stars,x\na,b,inf,1\n", "line 2: the label 'inf' is not a finite number"),
        ("who,what,stars\na,b,1\n", "line 1: no column is left for features"),
        ("who,what,x\na,b,1\n", "for the label"),
    ],
)
def test_bad_ranking_files_are_told(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(content)
    columns = "user=who,item=what,label=stars"
    assert sentence in error(run("--data", str(path), "--columns", columns, "--rank-groups", "--json"))


def models(directory: Path, *arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["models", *arguments, "--data-dir", str(directory), "--json"])
    assert result.exit_code == 0, result.stdout
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_train_compare_promote_and_roll_back(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = []
    for serve in ("ease", "popularity"):
        result = run(
            "--data", str(data), "--columns", COLUMNS, "--models", "popularity,ease",
            "--serve", serve, "--data-dir", str(home), "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.stdout
        made.append(json.loads(result.stdout))
    assert [one["state"] for one in made] == ["live", "candidate"]
    first, second = (one["version"] for one in made)
    assert models(home, "list")["live"] == first
    assert models(home, "show", second)["gate"]["passed"] is False
    assert models(home, "compare", first, second)["sameData"] is True
    assert models(home, "promote", second) == {"live": second, "previous": first}
    assert models(home, "rollback") == {"live": first, "previous": None}


def test_versions_may_live_behind_a_url(data: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/elsewhere"
    made = run(
        "--data", str(data), "--columns", COLUMNS, "--models", "ease", "--serve", "ease", "--registry", url, "--json"
    )
    assert made.exit_code == 0, made.stdout
    assert models(tmp_path / "home", "list", "--registry", url)["live"] == json.loads(made.stdout)["version"]
    assert models(tmp_path / "home", "list")["live"] is None
