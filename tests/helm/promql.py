"""What an expression asks for and gives: that its metrics and labels exist, and what labels are left."""

from __future__ import annotations

from typing import Any

import promql_parser as promql

TARGET = frozenset({"job", "instance", "namespace"})
"""Labels that Prometheus gives whatever it scrapes (``namespace`` in Kubernetes)."""
MADE = {"ALERTS": frozenset({"alertname", "alertstate", "severity", "node", "event"})}
"""By Prometheus itself, of the alert rules."""
SET_OPERATORS = {"and", "or", "unless"}


class Wrong(Exception):
    """The expression asks for what is not there."""


def labels(text: str, exported: dict[str, frozenset[str]]) -> frozenset[str]:
    """The labels of what an expression gives. ``exported``: labels by the name of a series.

    Raises Wrong, and ValueError where the expression does not parse.
    """
    return _labels(promql.parse(text), exported)


def metrics(text: str) -> set[str]:
    """The names of the series that an expression asks for."""
    found: set[str] = set()

    class Names:
        def visit(self, expr: promql.Expr) -> None:
            if isinstance(expr, promql.VectorSelector) and expr.name:
                found.add(expr.name)

    _walk(promql.parse(text), Names().visit)
    return found


def _walk(expr: Any, visit: Any) -> None:
    visit(expr)
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(expr, name, None)) is not None:
            _walk(inner, visit)
    for inner in getattr(expr, "args", None) or ():
        _walk(inner, visit)


def _labels(expr: Any, exported: dict[str, frozenset[str]]) -> frozenset[str]:
    match expr:
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
        case promql.VectorSelector():
            return _selected(expr, exported)
        case promql.MatrixSelector():
            return _selected(expr.vector_selector, exported)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(expr.expr, exported)
        case promql.AggregateExpr():
            return _aggregated(expr, exported)
        case promql.BinaryExpr():
            return _joined(expr, exported)
        case promql.Call():
            return _called(expr, exported)
    raise Wrong(f"{expr}: {type(expr).__name__} is not provided for")


def _selected(expr: Any, exported: dict[str, frozenset[str]]) -> frozenset[str]:
    known = {**exported, **MADE}.get(expr.name)
    if known is None:
        raise Wrong(f"{expr.name}: no such metric")
    there = known if ":" in expr.name else known | TARGET  # what a rule records has the labels it gives
    for matcher in expr.matchers.matchers:
        if matcher.name not in there:
            raise Wrong(f"{expr.name} has no label {matcher.name}: {sorted(there)}")
    return there


def _aggregated(expr: Any, exported: dict[str, frozenset[str]]) -> frozenset[str]:
    inner, modifier = _labels(expr.expr, exported), expr.modifier
    if modifier is None:
        return frozenset()
    named = frozenset(modifier.labels)
    if not named <= inner:
        raise Wrong(f"{expr}: no label {sorted(named - inner)} there: {sorted(inner)}")
    return named if modifier.type == promql.AggModifierType.By else inner - named


def _joined(expr: Any, exported: dict[str, frozenset[str]]) -> frozenset[str]:
    left, right = _labels(expr.lhs, exported), _labels(expr.rhs, exported)
    if _scalar(expr.lhs):
        return right
    if _scalar(expr.rhs):
        return left
    matching = expr.modifier.matching if expr.modifier is not None else None
    if matching is None:
        if left != right:  # else hardly any series finds its partner
            raise Wrong(f"{expr}: {sorted(left)} on the left, {sorted(right)} on the right")
        return left
    named = frozenset(matching.labels)
    if not named <= left & right:
        raise Wrong(f"{expr}: joined on {sorted(named)}; {sorted(left)} and {sorted(right)} are there")
    if expr.modifier.card == promql.VectorMatchCardinality.ManyToOne:
        return left | frozenset(expr.modifier.group_labels or ())
    return left if str(expr.op) in SET_OPERATORS else named


def _scalar(expr: Any) -> bool:
    match expr:
        case promql.NumberLiteral():
            return True
        case promql.BinaryExpr():
            return _scalar(expr.lhs) and _scalar(expr.rhs)
        case promql.Call():
            return expr.func.name in {"time", "scalar"}
    return False


def _called(expr: Any, exported: dict[str, frozenset[str]]) -> frozenset[str]:
    inner = frozenset[str]().union(*(_labels(each, exported) for each in expr.args))
    if expr.func.name == "histogram_quantile":
        if "le" not in inner:
            raise Wrong(f"{expr}: without le there are no buckets")
        return inner - {"le"}
    if expr.func.name in {"absent", "scalar", "vector"}:
        return frozenset()
    return inner
