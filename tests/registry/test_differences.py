"""The readable difference of tool definitions."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.registry import ToolDifference
from app.registry.differences import Change, compare, differences

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def tool(name: str, text: str = "Runs.", **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"name": name, "description": text, "inputSchema": schema}


def test_tools_that_came_went_and_changed() -> None:
    before = [tool("a"), tool("b", x={"type": "string"}), tool("c")]
    after = [tool("b", "Sends it.", x={"type": "integer"}, y={}), tool("c"), tool("d")]
    found = differences(before, after)
    assert [(each.tool, each.kind) for each in found] == [
        ("a", "removed"),
        ("b", "changed"),
        ("d", "added"),
    ]
    assert found[1].changes == (
        Change("/description", '"Runs."', '"Sends it."'),
        Change("/inputSchema/properties/x/type", '"string"', '"integer"'),
        Change("/inputSchema/properties/y", None, "{}"),
    )
    assert found[1].lines()[:4] == [
        "~ b",
        "    /description",
        '      - "Runs."',
        '      + "Sends it."',
    ]


def test_names_are_escaped_and_long_values_keep_their_end() -> None:
    (change,) = compare({"a/b~c": "x" * 1000}, {"a/b~c": "x" * 999 + "y"})
    assert change.where == "/a~1b~0c"
    assert change.after is not None
    assert change.after.endswith('y"')
    assert len(change.after) < 500


def test_lists_are_compared_item_by_item() -> None:
    assert list(compare([1, 2], [1, 3, 4])) == [
        Change("/1", "2", "3"),
        Change("/2", None, "4"),
    ]
    assert list(compare(True, 1)) == [Change("", "true", "1")]


@given(JSON, JSON)
def test_nothing_differs_exactly_where_values_are_equal(one: Any, two: Any) -> None:
    assert list(compare(one, one)) == []
    forth, back = list(compare(one, two)), list(compare(two, one))
    assert [(c.where, c.before, c.after) for c in forth] == [
        (c.where, c.after, c.before) for c in back
    ]


def test_a_tool_that_came_or_went_is_shown_whole() -> None:
    (came,) = differences([], [tool("a")])
    assert came.lines()[:3] == ["+ a", "    /description", '      + "Runs."']
    (went,) = differences([tool("a")], [])
    assert went.lines()[:3] == ["- a", "    /description", '      - "Runs."']
    assert ToolDifference("a", "added").lines() == ["+ a"]
