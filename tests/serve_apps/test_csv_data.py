"""CSV files: what is read, and how each kind of mistake is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kernel.errors import TRAINING_DATA_INVALID, FlowError
from serve_apps.contracts import ACTION_WEIGHTS, POSITIVE_WEIGHT, InteractionRow
from serve_apps.csv_data import CsvTrainingData, RatingScale
from serve_apps.data import PAGE_ROWS


async def read(path: Path) -> list[InteractionRow]:
    return [row async for page in CsvTrainingData(path).interactions() for row in page]


async def rows_of(tmp_path: Path, content: str | bytes) -> list[InteractionRow]:
    path = tmp_path / "rows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return await read(path)


async def test_ratings(tmp_path: Path) -> None:
    found = await rows_of(tmp_path, "userId,movieId,rating,timestamp\n1,31,4.0,964982703\n1,32,2.0,964982703\n")
    assert found == [
        InteractionRow("1", "31", "rated", POSITIVE_WEIGHT, 964_982_703_000),
        InteractionRow("1", "32", "rated", 0.25, 964_982_703_000),
    ]


async def test_actions_in_any_column_order(tmp_path: Path) -> None:
    content = "\ufefftime, ACTION ,item,note,user\n2024-01-02T03:04:05Z,Attend,e,x,u\n\n1704164645000,view,f,,u\n"
    assert await rows_of(tmp_path, content) == [
        InteractionRow("u", "e", "attend", ACTION_WEIGHTS["attend"], 1_704_164_645_000),
        InteractionRow("u", "f", "view", ACTION_WEIGHTS["view"], 1_704_164_645_000),
    ]


HEADER = "user,item,action,timestamp\n"


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("", 1, "empty"),
        ("user,item,timestamp\n", 1, "no column for the action or rating"),
        ("user,user_id,item,rating,time\n", 1, "more than one column for the user"),
        (HEADER + "u,e,view,1\nu,e,view\n", 3, "3 columns where the header has 4"),
        (HEADER + ",e,view,1\n", 2, "the user must be"),
        (HEADER + f"u,{'e' * 300},view,1\n", 2, "the item must be"),
        (HEADER + "u,e,hummed,1\n", 2, "'hummed' is not one of the actions"),
        (HEADER + "u,e,view,yesterday\n", 2, "neither seconds nor ISO 8601"),
        (HEADER + "u,e,view,-5\n", 2, "out of range"),
        (HEADER + "u,e,view,nan\n", 2, "neither seconds nor ISO 8601"),
        (HEADER + "u,e,view,inf\n", 2, "neither seconds nor ISO 8601"),
        (HEADER + "u,e,view,1e300\n", 2, "out of range"),
        ("user,item,rating,timestamp\nu,e,good,1\n", 2, "not a number"),
        ("user,item,rating,timestamp\nu,e,nan,1\n", 2, "not between 0 and 5"),
        ("user,item,rating,timestamp\nu,e,11,1\n", 2, "not between 0 and 5"),
        (HEADER.encode() + b"u,\xff\xfe,view,1\n", 1, "not UTF-8"),
        (HEADER + 'u,"e,view,1\n', 2, "unexpected end of data"),
    ],
)
async def test_mistakes_name_the_line(tmp_path: Path, content: str | bytes, line: int, problem: str) -> None:
    with pytest.raises(FlowError) as caught:
        await rows_of(tmp_path, content)
    assert caught.value.kind is TRAINING_DATA_INVALID
    assert f"line {line}:" in caught.value.message
    assert problem in caught.value.message


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FlowError) as caught:
        await read(tmp_path / "none.csv")
    assert caught.value.kind is TRAINING_DATA_INVALID
    assert "No such file" in caught.value.message


async def test_pages_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "".join(f"u,{number},view,1\n" for number in range(PAGE_ROWS + 1)))
    assert [len(page) async for page in CsvTrainingData(path).interactions()] == [PAGE_ROWS, 1]


@given(st.floats(0, 5), st.floats(0, 5), st.floats(0.5, 5))
def test_weights_rise_with_ratings_and_liking_begins_at_the_threshold(one: float, two: float, positive: float) -> None:
    scale = RatingScale(0.0, positive, 5.0)
    low, high = sorted((one, two))
    assert 0.0 <= scale.weight(low) <= scale.weight(high) <= 1.0
    assert (scale.weight(one) >= POSITIVE_WEIGHT) == (one >= positive)
