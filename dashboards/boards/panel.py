"""What is drawn: a panel is a title, what to look for, its queries and how they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase

from grafana_foundation_sdk.models import common, dashboard, heatmap, prometheus, stat, table, timeseries

from dashboards.boards.look import COLOURS, PLAIN, Steps, Unit
from telemetry.names import CATALOGUE

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
NOTHING = "-"
"""In a cell of a table for which there is no number."""


SMALLEST_LINE = 0.001
CELLS = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and what its series are called."""

    expr: str
    legend: str = "__auto"
    exemplars: bool = False
    """Show single runs as dots that lead to their traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    title: str
    expr: str
    unit: Unit
    steps: Steps = PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Something drawn, with its size on a grid of 24 columns; its place is the board's to give."""

    kind: str
    title: str
    look_for: str
    """The description: what it shows, and what is worth looking at."""
    queries: Sequence[prometheus.Dataquery]
    options: object
    defaults: dashboard.FieldConfig
    overrides: list[dashboard.DashboardFieldConfigSourceOverrides] = field(default_factory=list)
    transformations: list[dashboard.DataTransformerConfig] | None = None
    links: list[dashboard.DashboardLink] | None = None
    width: int
    height: int

    def at(self, number: int, x: int, y: int) -> dashboard.Panel:
        """As Grafana takes it: with this id, at this place."""
        return dashboard.Panel(
            type_val=self.kind,
            id_val=number,
            title=self.title,
            description=self.look_for,
            datasource=PROMETHEUS,
            grid_pos=dashboard.GridPos(h=self.height, w=self.width, x=x, y=y),
            targets=list(self.queries),
            options=self.options,
            field_config=dashboard.FieldConfigSource(defaults=self.defaults, overrides=self.overrides),
            transformations=self.transformations,
            links=self.links,
        )


def stat_of(
    title: str,
    look_for: str,
    expr: str,
    *,
    unit: Unit,
    empty: str,
    steps: Steps = PLAIN,
    words: Mapping[str, str] | None = None,
    decimals: int | None = None,
    leads_to: dashboard.DashboardLink | None = None,
    width: int = 3,
) -> Panel:
    """One number, as it is now, on the colour that it deserves. `words` are said instead of some numbers."""
    told = {value: dashboard.ValueMappingResult(text=word) for value, word in (words or {}).items()}
    return Panel(
        kind="stat",
        title=title,
        look_for=look_for,
        queries=[_query("A", Query(expr, title), instant=True)],
        options=stat.Options(
            color_mode=common.BigValueColorMode.BACKGROUND_SOLID,
            graph_mode=common.BigValueGraphMode.NONE,
            reduce_options=common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False),
        ),
        defaults=_field(
            unit, empty, steps, decimals=decimals, mappings=[dashboard.ValueMap(options=told)] if told else []
        ),
        links=[leads_to] if leads_to else None,
        width=width,
        height=4,
    )


def graph(
    title: str,
    look_for: str,
    *queries: Query,
    unit: Unit,
    empty: str,
    steps: Steps = PLAIN,
    stacked: bool = False,
    logarithmic: bool = False,
    most: float | None = None,
    links: list[dashboard.DashboardLink] | None = None,
    width: int = 8,
    height: int = 8,
) -> Panel:
    """Numbers over time. Its steps, if any, are drawn as lines."""
    scale = common.ScaleDistributionConfig(type_val=common.ScaleDistribution.LINEAR)
    if logarithmic:
        scale = common.ScaleDistributionConfig(type_val=common.ScaleDistribution.LOG, log=10)
    # a line at 0 says nothing
    drawn = any(value for value, _ in steps if value and value >= SMALLEST_LINE)
    lines = common.GraphThresholdsStyleMode.DASHED if drawn else common.GraphThresholdsStyleMode.OFF
    custom = timeseries.FieldConfig(
        fill_opacity=30 if stacked else 5,
        line_width=1,
        show_points=common.VisibilityMode.AUTO,
        span_nulls=False,
        axis_soft_min=0,
        scale_distribution=scale,
        stacking=common.StackingConfig(
            mode=common.StackingMode.NORMAL if stacked else common.StackingMode.NONE, group="A"
        ),
        thresholds_style=common.GraphThresholdsStyleConfig(mode=lines),
    )
    return Panel(
        kind="timeseries",
        title=title,
        look_for=look_for,
        queries=[_query(ref, query) for ref, query in zip(ascii_uppercase, queries, strict=False)],
        options=timeseries.Options(
            legend=common.VizLegendOptions(
                display_mode=common.LegendDisplayMode.TABLE,
                placement=common.LegendPlacement.BOTTOM,
                show_legend=True,
                calcs=["lastNotNull", "mean", "max"],
                sort_by="Max",
                sort_desc=True,
            ),
            tooltip=common.VizTooltipOptions(
                mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING
            ),
        ),
        defaults=_field(
            unit, empty, steps, custom=custom, most=most, colour=dashboard.FieldColorModeId.PALETTE_CLASSIC
        ),
        overrides=[_coloured(word) for word in _words(queries)],
        links=links,
        width=width,
        height=height,
    )


def table_of(
    title: str,
    look_for: str,
    *columns: Column,
    by: tuple[str, ...],
    sort_by: str,
    empty: str = NOTHING,
    leads_to: Mapping[str, tuple[str, str]] | None = None,
    width: int = 24,
    height: int = 9,
) -> Panel:
    """A row for each set of the labels `by`; `leads_to` is, for a label, a title and an address."""
    refs = dict(zip(ascii_uppercase, columns, strict=False))
    return Panel(
        kind="table",
        title=title,
        look_for=look_for,
        queries=[
            _query(
                ref, Query(column.expr, column.title), instant=True, shape=prometheus.PromQueryFormat.TABLE
            )
            for ref, column in refs.items()
        ],
        options=table.Options(sort_by=[common.TableSortByFieldState(display_name=sort_by, desc=True)]),
        defaults=_field(Unit.number, empty, PLAIN, custom=CELLS),
        overrides=[
            *(_column(column) for column in columns),
            *(_leading(label, *address) for label, address in (leads_to or {}).items()),
        ],
        transformations=[
            dashboard.DataTransformerConfig(id_val="merge", options={}),
            dashboard.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: place for place, name in enumerate(by)}
                    | {f"Value #{ref}": len(by) + place for place, ref in enumerate(refs)},
                    "renameByName": {f"Value #{ref}": column.title for ref, column in refs.items()},
                },
            ),
        ],
        width=width,
        height=height,
    )


def heatmap_of(
    title: str, look_for: str, expr: str, *, empty: str, width: int = 24, height: int = 9
) -> Panel:
    """How the buckets of a histogram fill over time, with single runs as dots."""
    return Panel(
        kind="heatmap",
        title=title,
        look_for=look_for,
        queries=[
            _query("A", Query(expr, "{{le}}", exemplars=True), shape=prometheus.PromQueryFormat.HEATMAP)
        ],
        options=heatmap.Options(
            color=heatmap.HeatmapColorOptions(
                mode=heatmap.HeatmapColorMode.SCHEME,
                scale=heatmap.HeatmapColorScale.EXPONENTIAL,
                scheme="Oranges",
                fill="dark-orange",
                exponent=0.5,
                steps=64,
            ),
            exemplars=heatmap.ExemplarConfig(color="blue"),
            tooltip=heatmap.HeatmapTooltip(
                mode=common.TooltipDisplayMode.SINGLE, y_histogram=True, show_color_scale=True
            ),
            y_axis=heatmap.YAxisConfig(
                unit=Unit.seconds, axis_placement=common.AxisPlacement.LEFT, reverse=False
            ),
        ),
        defaults=_field(
            Unit.seconds,
            empty,
            PLAIN,
            custom=heatmap.FieldConfig(
                hide_from=common.HideSeriesConfig(legend=False, tooltip=False, viz=False),
                scale_distribution=common.ScaleDistributionConfig(type_val=common.ScaleDistribution.LINEAR),
            ),
        ),
        width=width,
        height=height,
    )


def _query(
    ref: str, query: Query, *, instant: bool = False, shape: prometheus.PromQueryFormat | None = None
) -> prometheus.Dataquery:
    return prometheus.Dataquery(
        ref_id=ref,
        datasource=PROMETHEUS,
        editor_mode=prometheus.QueryEditorMode.CODE,
        expr=query.expr,
        legend_format=query.legend,
        exemplar=query.exemplars,
        instant=instant,
        range_val=not instant,
        format_val=shape or prometheus.PromQueryFormat.TIME_SERIES,
    )


def _field(
    unit: Unit,
    empty: str,
    steps: Steps,
    *,
    colour: dashboard.FieldColorModeId = dashboard.FieldColorModeId.THRESHOLDS,
    custom: object = None,
    decimals: int | None = None,
    mappings: Sequence[dashboard.ValueMap] = (),
    most: float | None = None,
) -> dashboard.FieldConfig:
    return dashboard.FieldConfig(
        unit=unit,
        no_value=empty,
        decimals=decimals,
        max_val=most,
        mappings=list(mappings),
        thresholds=_thresholds(steps),
        color=dashboard.FieldColor(mode=colour),
        custom=custom,
    )


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig(steps=[dashboard.Threshold(value, colour) for value, colour in steps])


def _override(name: str, **properties: object) -> dashboard.DashboardFieldConfigSourceOverrides:
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig(id_val="byName", options=name),
        properties=[
            dashboard.DynamicConfigValue(id_val=key.replace("__", "."), value=value)
            for key, value in properties.items()
        ],
    )


def _coloured(word: str) -> dashboard.DashboardFieldConfigSourceOverrides:
    fixed = dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=COLOURS[word])
    return _override(word, color=fixed)


def _column(column: Column) -> dashboard.DashboardFieldConfigSourceOverrides:
    cell = {"type": "auto"} if column.steps is PLAIN else {"type": "color-background", "mode": "basic"}
    whole = {"decimals": 0} if column.unit is Unit.number else {}
    return _override(
        column.title,
        **whole,
        unit=column.unit,
        thresholds=_thresholds(column.steps),
        custom__cellOptions=cell,
    )


def _leading(label: str, title: str, url: str) -> dashboard.DashboardFieldConfigSourceOverrides:
    return _override(label, links=[{"title": title, "url": url, "targetBlank": False}])


def _words(queries: Sequence[Query]) -> list[str]:
    """What series may be called and has a colour: a legend, or a value of the label that is the legend."""
    called = {query.legend for query in queries}
    shown = {legend.strip("{}") for legend in called if legend.startswith("{{")}
    called.update(
        value for row in CATALOGUE for label in row.labels if label.name in shown for value in label.values
    )
    return [word for word in COLOURS if word in called]
