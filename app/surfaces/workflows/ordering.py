"""From a request to an order: the definition, what it calls, what that costs, the input's files."""

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal
from uuid import UUID

from app.billing import Quote
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.orchestration import (
    Agreement,
    Envelope,
    JobRequest,
    Library,
    Offer,
    Order,
    StepResult,
    check_workflow,
    order_workflow,
    targets_of,
)
from app.surfaces.context import Access
from app.surfaces.files import Files
from app.surfaces.payloads import pointer
from app.surfaces.services import Services
from app.surfaces.terms import USUAL, Terms
from app.surfaces.toolprices import ToolPrices
from app.surfaces.workflows.payloads import Named

KIND: Literal["workflow"] = "workflow"
_LARGE = 50
Quotes = Mapping[str, Quote | AppError]
_Place = tuple[str | int, ...]


class Ordering:
    """Makes orders. Nothing is held, queued or written."""

    def __init__(self, services: Services, access: Access, library: Library) -> None:
        self._services = services
        self._access = access
        self._library = library
        self._files = Files(services, access)
        self._prices = ToolPrices(services, access)

    async def named(
        self, principal: Principal, asked: Named
    ) -> tuple[Mapping[str, Any], Agreement]:
        """The definition that is meant, and its name; `not_found`."""
        if not isinstance(asked.workflow, str):
            return asked.workflow, Agreement()
        async with self._access.read(principal) as uow:
            saved = await self._library.get(uow, principal.owner, asked.workflow, asked.version)
        return saved.definition or {}, Agreement(name=saved.name, version=saved.version)

    async def order(self, principal: Principal, raw: Mapping[str, Any]) -> Order:
        """The order for a definition, or every mistake in it.

        Raises `forbidden`, `payload_too_large`, and `unknown_field` or `invalid_input` with the
        mistakes in `details.errors`.
        """
        # The worker calls the tools in the user's name, so the key must be one that may.
        principal.require(Scope.JOBS)
        principal.require(Scope.TOOLS)
        snapshot, templates = self._services.registry.snapshot(), self._services.templates
        check = partial(check_workflow, raw, tool=snapshot.resolve, template=templates.get)
        # A large one takes tens of milliseconds, in which nobody else would be answered.
        nodes = raw.get("nodes")
        is_large = isinstance(nodes, Mapping) and len(nodes) > _LARGE
        plan = await asyncio.to_thread(check) if is_large else check()
        wanted = targets_of(plan)
        quotes = await self._quotes(principal, wanted)

        def find(target: str) -> Offer:
            kind, _, name = target.partition(":")
            if kind == "template":
                template = templates.get(name)
                price = _price(quotes, target)
                return Offer(price, template.version, template.input_schema())
            tool = snapshot.resolve(name)
            price = _price(quotes, target)
            return Offer(price, tool.definition.sha256, tool.definition.input_schema)

        return order_workflow(raw, plan, find=find)

    async def _quotes(self, principal: Principal, targets: set[str]) -> Quotes:
        """The quote of each target that there is."""
        snapshot = self._services.registry.snapshot()
        names = {}
        for target in targets:
            kind, _, name = target.partition(":")
            if kind == "tool" and (tool := snapshot.find(name)) is not None:
                names[target] = tool.full_name
        tools = await self._prices.of(principal, set(names.values()))
        quotes = {target: tools[name] for target, name in names.items()}
        if templates := [target for target in targets if target.startswith("template:")]:
            async with self._access.write(principal) as uow:
                for target in templates:
                    name = target.partition(":")[2]
                    try:
                        quotes[target] = await self._services.billing.quote(uow, "template", name)
                    except AppError as error:
                        quotes[target] = error
        return quotes

    async def check_input(self, principal: Principal, order: Order, given: Any) -> None:
        """Raise unless this is an input of the workflow and its files are the principal's."""
        order.check_input(given)
        schema = order.plan.definition.input_schema
        named = [] if schema is None else list(_files(schema, given, ()))
        if not named:
            return
        async with self._access.read(principal) as uow:
            for place, file_id in named:
                try:
                    await self._files.own(uow, principal, UUID(file_id))
                except (AppError, ValueError) as error:
                    raise _no_file(place, file_id) from error


def request_of(
    services: Services,
    principal: Principal,
    order: Order,
    envelope: Envelope,
    *,
    kept: Mapping[str, StepResult] | None = None,
    terms: Terms = USUAL,
) -> JobRequest:
    """The job of an order, which holds the most that it can cost."""
    amount = order.bound_micro(envelope.input, kept, envelope.unpaid)
    return JobRequest(
        user_id=principal.owner,
        project_id=principal.project_id,
        kind=KIND,
        definition=envelope.as_dict(),
        price=Quote(KIND, envelope.name or KIND, "outcome", amount, 1),
        idempotency_key=terms.idempotency_key,
        priority=terms.priority,
        run_at=terms.run_at,
        limit_names=services.limit_names(principal.owner, None, terms.limit_key),
        webhook_id=terms.webhook,
    )


def _price(quotes: Quotes, target: str) -> int:
    quote = quotes[target]
    if isinstance(quote, AppError):
        raise quote
    return quote.amount_micro


def _files(schema: Any, value: Any, place: _Place) -> Iterator[tuple[_Place, str]]:
    """The files an input names, where its schema says so plainly.

    The schema is a user's: references and alternatives are not followed, they may go in circles.
    """
    if not isinstance(schema, Mapping):
        return
    if schema.get("format") == "file" and isinstance(value, str):
        yield place, value
    properties = schema.get("properties")
    if isinstance(value, Mapping) and isinstance(properties, Mapping):
        for name in value.keys() & properties.keys():
            yield from _files(properties[name], value[name], (*place, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _files(schema.get("items"), item, (*place, index))


def _no_file(place: _Place, file_id: str) -> AppError:
    where = pointer(place)
    message = f"There is no file {file_id[:80]!r}."
    mistake = {"pointer": where, "code": Code.NOT_FOUND.value, "message": message}
    return AppError(
        Code.NOT_FOUND,
        f"The workflow's input: {where}: {message}",
        hint="Upload the file first and use its file_id.",
        details={"pointer": where, "errors": [mistake]},
    )
