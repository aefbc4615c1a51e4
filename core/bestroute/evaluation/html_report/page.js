"use strict";
// Nothing of the page needs this: it lets tables be filtered, and charts be zoomed, pointed at and filtered.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seriesColour = (i) => colour(`--series-${(i % 8) + 1}`);

function addFilter(table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 12) return;
  const label = document.createElement("label");
  label.className = "filter";
  label.append(`Filter: ${table.caption.textContent}`);
  const input = document.createElement("input");
  input.type = "search";
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  label.append(input);
  table.closest(".scroll").before(label);
}

function shortened(chart) {
  const words = chart.words ? [...new Set(chart.series.flatMap((series) => series.x))] : [];
  if (!words.some((word) => word.length > 14)) return {};
  return {tickmode: "array", tickvals: words, ticktext: words.map((word) => word.length > 14 ? `${word.slice(0, 13).replace(/&[^;]*$/, "")}…` : word)};
}

function layoutOf(chart) {
  const ink = colour("--ink"), rule = colour("--rule");
  const axis = (title, percent) => ({
    title: {text: title}, gridcolor: rule, zerolinecolor: rule, linecolor: rule, automargin: true,
    tickformat: percent ? "~%" : undefined,
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, family: "system-ui, sans-serif"},
    margin: {l: 8, r: 8, t: 8, b: 8}, barmode: "stack", showlegend: false, hovermode: "closest", dragmode: "zoom",
    hoverlabel: {bgcolor: colour("--raised"), bordercolor: rule, font: {color: ink}},
    xaxis: {...axis(chart.x_title, chart.x_percent), type: chart.words ? "category" : "linear", ...shortened(chart)},
    yaxis: axis(chart.y_title, chart.y_percent),
  };
}

function tracesOf(chart, hidden) {
  return chart.series.map((series, i) => {
    const own = seriesColour(i);
    const has = series.low.length > 0;
    return {
      type: series.kind === "bars" ? "bar" : "scatter", name: series.name, x: series.x, y: series.y,
      mode: series.kind === "line" ? "lines+markers" : "markers", visible: !hidden.has(i),
      marker: {color: own, size: series.kind === "points" ? 9 : 5}, line: {color: own, width: 2},
      text: series.labels, hovertemplate: `%{fullData.name}${series.labels.length ? "<br>%{text}" : ""}<br>%{x}, %{y}<extra></extra>`,
      error_y: has ? {
        type: "data", symmetric: false, color: own, thickness: 1, width: 2,
        array: series.high.map((high, j) => high - series.y[j]), arrayminus: series.low.map((low, j) => series.y[j] - low),
      } : undefined,
    };
  });
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function draw(figure) {
  const chart = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const live = document.createElement("div");
  live.className = "live";
  live.setAttribute("role", "img");
  live.setAttribute("aria-label", figure.querySelector("svg").getAttribute("aria-label") + "; the numbers stand in the table below");
  const hidden = new Set();
  const options = {displayModeBar: false, responsive: true, showTips: false};
  const redraw = () => Plotly.react(live, tracesOf(chart, hidden), {...layoutOf(chart), xaxis: {...layoutOf(chart).xaxis, range: live._fullLayout?.xaxis.autorange === false ? live._fullLayout.xaxis.range : undefined}}, options);
  const controls = document.createElement("div");
  controls.className = "controls";
  const fields = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = `Series of ${chart.title}`;
  fields.append(legend);
  const swatches = chart.series.map((series, i) => {
    const label = document.createElement("label"), box = document.createElement("input"), swatch = document.createElement("span");
    box.type = "checkbox";
    box.checked = true;
    swatch.className = "swatch";
    box.addEventListener("change", () => { box.checked ? hidden.delete(i) : hidden.add(i); redraw(); });
    label.append(box, swatch, series.label);
    fields.append(label);
    return swatch;
  });
  const zoom = (factor) => {
    const [low, high] = live._fullLayout.xaxis.range.map(Number);
    const middle = (low + high) / 2, half = (high - low) * factor / 2;
    Plotly.relayout(live, {"xaxis.range": [middle - half, middle + half]});
  };
  controls.append(fields, button("Zoom in", () => zoom(0.5)), button("Zoom out", () => zoom(2)),
    button("Whole", () => Plotly.relayout(live, {"xaxis.autorange": true, "yaxis.autorange": true})));
  for (const each of controls.querySelectorAll("button")) each.setAttribute("aria-label", `${each.textContent}: ${chart.title}`);
  const paint = () => { swatches.forEach((swatch, i) => { swatch.style.background = seriesColour(i); }); };
  figure.querySelector(".still").before(controls, live);
  figure.classList.add("runs");
  paint();
  Plotly.newPlot(live, tracesOf(chart, hidden), layoutOf(chart), options);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); redraw(); });
}

for (const table of document.querySelectorAll("table")) addFilter(table);
if (typeof Plotly !== "undefined") for (const figure of document.querySelectorAll("figure.chart")) draw(figure);
