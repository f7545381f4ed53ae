"""What a flow is found by, and what is proposed where it is not found."""

import msgspec
import pytest

from koco.control.services.catalog import Catalog
from koco.errors import ConflictError, NotFoundError
from koco.store.model import Release
from tests.support.releases import flow, manifest


@pytest.fixture
def catalog() -> Catalog:
    made = Catalog()
    for service, flows in (("shop", ("quote", "order")), ("press", ("article", "order"))):
        made.put(
            Release(
                service=service,
                number=1,
                status="live",
                bundle="b",
                fingerprint="f",
                manifest=manifest(),
                flows=tuple(map(flow, flows)),
                created="",
            )
        )
    return made


@pytest.mark.parametrize(("name", "found"), [("shop/quote", "shop/quote"), ("quote", "shop/quote")])
def test_finds_a_flow_by_its_names(catalog: Catalog, name: str, found: str) -> None:
    """By the full name, or by a short one if that is unique."""
    assert catalog.find(name).name == found


def test_somebodys_own_service_leaves_short_names_alone(catalog: Catalog) -> None:
    """`quote` stays the shop's while Ada works on hers; a flow that only hers has is found."""
    for number, name in enumerate(("quote", "refund"), 1):
        made = catalog.release("shop")
        flows = tuple(map(flow, ("quote", name)))
        own = msgspec.structs.replace(made, service="shop~ada", number=number, flows=flows)
        catalog.put(own)
    assert catalog.find("quote").name == "shop/quote"
    assert catalog.find("refund").name == "shop~ada/refund"
    assert catalog.find("shop~ada/quote").name == "shop~ada/quote"


def test_refuses_an_ambiguous_name(catalog: Catalog) -> None:
    """With the full names to choose from."""
    for name, hint in (("order", "press/order, shop/order"), ("shop", "shop/order, shop/quote")):
        with pytest.raises(ConflictError) as caught:
            catalog.find(name)
        assert caught.value.hint == f"say which: {hint}"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("qoute", "did you mean 'quote'?"),
        ("shop/qoute", "did you mean 'shop/quote'?"),
        ("shpo/quote", "did you mean 'shop/quote'?"),
        ("broken/quote", "no release of 'broken' is live: `koco status` lists those that are"),
        ("nothing", "`koco flows` lists them"),
    ],
)
def test_suggests_similar_names(catalog: Catalog, name: str, hint: str) -> None:
    """The nearest; for a full name never another service's flow."""
    with pytest.raises(NotFoundError, match="no flow is called") as caught:
        catalog.find(name)
    assert caught.value.hint == hint


def test_without_a_deploy_the_error_says_how_to_deploy() -> None:
    """Before the first deploy."""
    with pytest.raises(NotFoundError) as caught:
        Catalog().find("quote")
    assert caught.value.hint is not None
    assert "koco deploy" in caught.value.hint


def test_an_unreadable_form_stops_only_its_own_flow() -> None:
    """An older koco may have accepted it. The control plane starts."""
    form = [{"type": "text", "name": "x", "pattern": "(?=a)a"}]
    made = Catalog()
    made.put(
        Release(
            service="shop",
            number=1,
            status="live",
            bundle="b",
            fingerprint="f",
            manifest=manifest(),
            flows=(flow("old", form=form), flow("new", form=[])),
            created="",
        )
    )
    assert made.find("shop/new").form is not None
    with pytest.raises(ConflictError, match=r"the form of shop/old cannot be read: .*look ahead"):
        made.find("shop/old")


def test_finds_a_flow_by_its_path() -> None:
    """A flow's own path may have parameters; an exact one comes first."""
    paths = {"year": "/reports/{year}", "latest": "/reports/latest", "files": "/files/{path:path}"}
    made = Catalog()
    flows = tuple(
        msgspec.structs.replace(flow(name), path=path, dialect="kodosumi")
        for name, path in paths.items()
    )
    made.put(
        Release(
            service="shop",
            number=1,
            status="live",
            bundle="b",
            fingerprint="f",
            manifest=manifest(),
            flows=flows,
            created="",
        )
    )
    for path, name in (
        *(("/reports/2026", "year"), ("/reports/latest", "latest"), ("/files/a/b", "files")),
        *(("/reports/2026/1", None), ("/reports", None)),
    ):
        found = made.at("shop", path)
        assert (found.flow.name if found else None) == name
    # The launch of a page belongs to the flow that it names, or to the one at its path.
    for path, asked, name in (
        *(("/other", "latest", "latest"), ("/other", "unknown", "year")),
        *(("/files/a", None, "files"), ("/other", None, "year")),
    ):
        entry = made.ordered("shop", path, asked)
        assert entry is not None
        assert entry.flow.name == name
    assert made.ordered("press", "/", None) is None
