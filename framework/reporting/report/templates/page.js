(() => {
  "use strict";
  const root = document.documentElement;
  const button = document.getElementById("scheme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.scheme ? root.dataset.scheme === "dark" : prefersDark.matches);
  const plots = [...document.querySelectorAll("script[data-plot]")].map((script) => ({
    place: document.getElementById(script.dataset.plot),
    figure: JSON.parse(script.textContent),
  }));

  // "@ink" in a figure is the page's colour of that name, in the scheme of the moment.
  function colored(value, style) {
    if (typeof value === "string") {
      return /^@[a-z]+$/.test(value) ? style.getPropertyValue(`--${value.slice(1)}`).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => colored(item, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, colored(item, style)]));
  }

  function axis(own, style) {
    const line = style.getPropertyValue("--line").trim();
    return {
      gridcolor: style.getPropertyValue("--grid").trim(),
      linecolor: line, zerolinecolor: line, automargin: true,
      ...own,
      title: { standoff: 8, ...own.title },
    };
  }

  function drawAll() {
    const style = getComputedStyle(root);
    const coarse = matchMedia("(pointer: coarse)").matches;
    for (const { place, figure } of plots) {
      const own = colored(figure.layout, style);
      const layout = {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: style.getPropertyValue("--ink").trim() },
        margin: { l: 48, r: 12, t: 24, b: 44 },
        legend: { orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom", font: { size: 11 } },
        hovermode: "x unified",
        hoverlabel: {
          bgcolor: style.getPropertyValue("--raised").trim(),
          bordercolor: style.getPropertyValue("--line").trim(),
          font: { color: style.getPropertyValue("--ink").trim() },
          namelength: -1,
        },
        dragmode: coarse ? false : "zoom",
        ...own,
      };
      for (const name of ["xaxis", "yaxis"]) layout[name] = axis(own[name] || {}, style);
      Plotly.react(place, colored(figure.data, style), layout, { displayModeBar: false, responsive: true });
    }
  }

  function label() {
    button.setAttribute("aria-pressed", String(isDark()));
    button.textContent = isDark() ? "Dark scheme: on" : "Dark scheme: off";
  }

  function redraw() {
    label();
    if (window.Plotly) drawAll();
  }

  // Paper is white, narrower than most windows, and nobody can unfold it.
  const paper = { whole: 680, half: 330, height: 280 };
  let before;

  function toPaper() {
    before = { scheme: root.dataset.scheme, folded: [...document.querySelectorAll("details.section:not([open])")] };
    for (const details of before.folded) details.open = true;
    root.dataset.scheme = "light";
    drawAll();
    for (const { place } of plots) {
      const width = place.closest(".wide") ? paper.whole : paper.half;
      Plotly.relayout(place, { width, height: paper.height });
    }
  }

  function toScreen() {
    for (const details of before.folded) details.open = false;
    if (before.scheme === undefined) delete root.dataset.scheme;
    else root.dataset.scheme = before.scheme;
    redraw();
  }

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function start() {
    button.hidden = false;
    label();
    button.addEventListener("click", () => {
      root.dataset.scheme = isDark() ? "light" : "dark";
      redraw();
    });
    prefersDark.addEventListener("change", redraw);
    const library = document.getElementById("library");
    if (!library || !plots.length) return;
    if (typeof DecompressionStream === "undefined") {
      for (const { place } of plots) place.textContent = "This browser is too old to draw plots; all values are in the table below.";
      return;
    }
    const script = document.createElement("script");
    script.textContent = await unpack(library.textContent);
    document.head.append(script);
    drawAll();
    addEventListener("beforeprint", toPaper);
    addEventListener("afterprint", toScreen);
    root.dataset.drawn = "true";
  }

  start();
})();
