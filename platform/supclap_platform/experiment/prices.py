"""`prices`: what an hour of a core and of a device costs, so that time is shown as money too.

They decide no result, and are in no signature: a price may change whenever it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol

from supclap.section import as_number
from supclap.wording import shown

CPU, CURRENCY = "cpu", "currency"
DOLLAR = "$"
MOST_SIGNS = 8  # of a currency
EXAMPLE = 'prices: {H100: 2.5, cpu: 0.04, currency: "€"}'


class Given(Protocol):
    """What a worker is given (`schema.Resources`)."""

    @property
    def cpu(self) -> float: ...

    @property
    def devices(self) -> float: ...


@dataclass(frozen=True)
class Prices:
    """What an hour costs: of one core (None: not said), and of one device by a part of its name."""

    cpu: float | None = None
    devices: Mapping[str, float] = field(default_factory=dict)
    currency: str = DOLLAR

    def hour(self, given: Given, workers: int, device: str | None = None) -> float | None:
        """What a cell costs in an hour; None where its device has no price.

        Without a word on cores, those beside a GPU cost nothing of their own. A GPU that is not
        known yet is taken for the dearest.

        Args:
            workers: that it has.
            device: as a result names it, such as ``NVIDIA H100 80GB HBM3``; None: not known.
        """
        on_cpu = device.startswith("CPU") if device is not None else not given.devices
        if on_cpu:
            return None if self.cpu is None else workers * given.cpu * self.cpu
        price = max(self.devices.values(), default=None) if device is None else self._of(device)
        if price is None:
            return None
        return workers * ((given.devices or 1.0) * price + given.cpu * (self.cpu or 0.0))

    def _of(self, device: str) -> float | None:
        """The price of a device: of the longest name that stands in its own."""
        found = [name for name in self.devices if name.lower() in device.lower()]
        return self.devices[max(found, key=len)] if found else None

    def text(self, amount: float) -> str:
        """An amount with its currency: ``€12.30``, ``12.30 CHF``."""
        small = 0 < abs(amount) < 0.01
        number = f"{amount:.1g}" if small else f"{amount:,.2f}"
        if self.currency[-1].isalpha():
            return f"{number} {self.currency}"
        return f"{self.currency}{number}"


def read_prices(value: Any) -> Any:
    """`Prices` of a mapping from an experiment file. Raises ValueError."""
    if value is None or isinstance(value, Prices):
        return value
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"expected what an hour costs, such as {EXAMPLE}")
    amounts = {str(name): one for name, one in value.items() if name != CURRENCY}
    found = {name: _price(name, one) for name, one in amounts.items()}
    if not found:
        raise ValueError(f"no price but a currency; such as {EXAMPLE}")
    lower = [name.lower() for name in found]
    twice = [name for name in found if lower.count(name.lower()) > 1]
    if twice:
        raise ValueError(f"'{twice[0]}' and '{twice[1]}' are one name: case does not count")
    cpu = next((name for name in found if name.lower() == CPU), None)
    devices = {name: price for name, price in found.items() if name != cpu}
    currency = _currency(value[CURRENCY]) if CURRENCY in value else DOLLAR
    return Prices(None if cpu is None else found[cpu], devices, currency)


def _price(name: str, value: Any) -> float:
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{shown(name)}: expected a part of a device's name, or {CPU}")
    try:
        number = as_number(value)
    except ValueError:
        number = None
    if not isinstance(number, int | float) or not isfinite(number) or number < 0:
        raise ValueError(
            f"{name}: expected what an hour costs, a number from 0 on, found {shown(str(value))}; "
            f"the sign goes to {CURRENCY}: {EXAMPLE}"
        )
    return float(number)


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(f"{CURRENCY}: expected a sign, such as € or CHF")
    sign = value.strip()
    if len(sign) > MOST_SIGNS or any(one.isdigit() for one in sign):
        raise ValueError(
            f"{CURRENCY}: expected a sign of at most {MOST_SIGNS} characters, no number"
        )
    return sign
