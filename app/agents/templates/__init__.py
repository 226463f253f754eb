"""The task templates, one file each. A new one is a file here and a line in `_ALL`."""

from collections.abc import Sequence

from app.agents.template import TaskTemplate
from app.agents.templates.crispr_knockout import CRISPR_KNOCKOUT
from app.kernel.errors import AppError, Code

_ALL = (CRISPR_KNOCKOUT,)


class Templates:
    """The tasks that can be asked for, by name."""

    def __init__(self, templates: Sequence[TaskTemplate] = _ALL) -> None:
        self._by_name = {template.name: template for template in templates}

    def all(self) -> list[TaskTemplate]:
        """Every template, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def get(self, name: str) -> TaskTemplate:
        """The template; `template_unknown` lists the names there are."""
        if name not in self._by_name:
            known = ", ".join(sorted(self._by_name))
            raise AppError(
                Code.TEMPLATE_UNKNOWN,
                f"There is no task template '{name}'.",
                hint=f"Known templates: {known}.",
                details={"known": sorted(self._by_name)},
            )
        return self._by_name[name]
