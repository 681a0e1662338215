// Maps: decoded from gray pictures, added up for what was clicked, and drawn over the photo.

const report = JSON.parse(document.getElementById("report-data").textContent);
const CLIP = 0.995; // colors end at this share of the sizes, where single places lie far beyond

async function decoded(sprite) {
  const image = new Image();
  image.src = sprite.png;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const levels = context.getImageData(0, 0, image.width, image.height).data;
  return sprite.steps.map((step, place) => cut(levels, image.width, sprite, step, place));
}

function cut(levels, width, sprite, step, place) {
  const [rows, columns] = sprite.size;
  const top = Math.floor(place / sprite.columns) * rows;
  const left = (place % sprite.columns) * columns;
  const values = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const at = (top + row) * width + left + column;
      values[row * columns + column] = (levels[4 * at] - 128) * step;
    }
  }
  return { values, step };
}

function added(maps, places) {
  const values = new Float64Array(maps[0].values.length);
  let step = 0;
  places.forEach((place) => {
    step += maps[place].step;
    maps[place].values.forEach((value, at) => { values[at] += value; });
  });
  return { values, step };
}

// --- what is shown ---------------------------------------------------------------------------------------

function range(count) {
  return [...Array(count).keys()];
}

function chosenFilters(entry, kind, numbers) {
  if (kind === "filter") return [numbers[0]];
  if (kind === "group") return entry.groups[numbers[0]][1];
  return kind === "pair" ? [numbers[1]] : range(entry.filters.length);
}

function partOf(entry, part) {
  const [kind, ...rest] = part.split(" ");
  const numbers = rest.map(Number);
  const colors = kind === "color" || kind === "pair" ? [numbers[0]] : range(entry.colors.length);
  const fine = entry.pixels && (kind === "all" || kind === "color");
  const filters = chosenFilters(entry, kind, numbers);
  const byColor = colors.map((color) => fine
    ? added(entry.pixelMaps, [color])
    : added(entry.pairMaps, filters.map((filter) => color * entry.filters.length + filter)));
  const sprite = fine ? entry.pixels : entry.pairs;
  return { colors, byColor, whole: added(byColor, range(byColor.length)), sprite, fine };
}

function nameOf(entry, part) {
  const [kind, ...rest] = part.split(" ");
  const [first, second] = rest.map(Number);
  if (kind === "color") return `color ${entry.colors[first]}`;
  if (kind === "filter") return `filter ${entry.filters[first]}`;
  if (kind === "group") return `filters ${entry.groups[first][0]}`;
  if (kind === "pair") return `${entry.colors[first]} seen through ${entry.filters[second]}`;
  return "all colors and filters";
}

// --- drawing ---------------------------------------------------------------------------------------------

function colorOf(level) {
  const place = ((Math.min(Math.max(level, -1), 1) + 1) / 2) * (report.palette.length - 1);
  const low = Math.min(Math.floor(place), report.palette.length - 2);
  return report.palette[low].map((value, at) => value + (place - low) * (report.palette[low + 1][at] - value));
}

function limitOf(values) {
  const sizes = values.map(Math.abs).sort();
  const largest = sizes[sizes.length - 1];
  const robust = sizes[Math.round(CLIP * (sizes.length - 1))];
  return robust > 0 && robust < 0.75 * largest ? [robust, true] : [largest, false];
}

function blurred(values, rows, columns, sigma) {
  if (!sigma) return values;
  const across = blurredRows(values, rows, columns, sigma);
  return turned(blurredRows(turned(across, rows, columns), columns, rows, sigma), columns, rows);
}

function turned(values, rows, columns) {
  return values.map((_, at) => values[(at % rows) * columns + Math.floor(at / rows)]);
}

function blurredRows(values, rows, columns, sigma) {
  const reach = Math.ceil(4 * sigma);
  const weights = range(2 * reach + 1).map((at) => Math.exp(-0.5 * ((at - reach) / sigma) ** 2));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const targets = range(columns).map((column) => weights.map((_, at) => mirrored(column + at - reach, columns)));
  const found = new Float64Array(values.length);
  for (let at = 0; at < values.length; at += 1) {
    const column = at % columns;
    const start = at - column;
    for (let tap = 0; tap < weights.length; tap += 1) found[start + targets[column][tap]] += (values[at] * weights[tap]) / sum;
  }
  return found;
}

function mirrored(place, count) {
  const at = ((place % (2 * count)) + 2 * count) % (2 * count);
  return Math.min(at, 2 * count - 1 - at);
}

function draw(view) {
  const [rows, columns] = view.shown.sprite.size;
  const exact = view.shown.whole.values;
  const sigma = Number(view.smooth.value);
  const values = blurred(exact, rows, columns, (sigma * columns) / view.entry.width);
  const [limit, clipped] = limitOf(values);
  view.canvas.width = columns;
  view.canvas.height = rows;
  const context = view.canvas.getContext("2d", { willReadFrequently: true });
  const picture = context.createImageData(columns, rows);
  values.forEach((value, at) => picture.data.set([...colorOf(value / (limit || 1)), 255], 4 * at));
  context.putImageData(picture, 0, 0);
  label(view, limit, clipped, sigma);
}

function label(view, limit, clipped, sigma) {
  view.low.textContent = `${written(-limit)} against`;
  view.high.textContent = `for ${written(limit)}`;
  const notes = [sigma ? `Smoothed by ${sigma} pixels, sums kept.` : "Not smoothed.", clipped ? "Single places lie beyond the ends of the scale." : ""];
  view.note.textContent = notes.join(" ");
}

function written(value, figures = 3) {
  const size = Math.abs(value);
  if (Number.isNaN(size)) return "unknown";
  if (!size) return "0";
  const digits = Math.max(0, Math.min(12, figures - 1 - Math.floor(Math.log10(size))));
  return (value < 0 ? "\u2212" : "+") + size.toFixed(digits);
}

// --- reading values --------------------------------------------------------------------------------------

function placeAt(view, event) {
  const box = view.canvas.getBoundingClientRect();
  const [rows, columns] = view.shown.sprite.size;
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
  const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
  return [Math.min(Math.max(row, 0), rows - 1), Math.min(Math.max(column, 0), columns - 1)];
}

function span(place, few, many) {
  const first = Math.floor((place * many) / few);
  const last = Math.max(first, Math.ceil(((place + 1) * many) / few) - 1);
  return first === last ? String(first) : `${first}\u2013${last}`;
}

function read(view, place) {
  const { sprite, whole, byColor, colors, fine } = view.shown;
  const [row, column] = place;
  const at = row * sprite.size[1] + column;
  const where = `${fine ? "Pixels" : "First layer"}, row ${span(row, sprite.size[0], sprite.source[0])}, `
    + `column ${span(column, sprite.size[1], sprite.source[1])}`;
  const parts = byColor.map((map, number) => `${view.entry.colors[colors[number]]} ${written(map.values[at])}`);
  const each = parts.length > 1 ? ` (${parts.join(", ")})` : "";
  view.readout.textContent = `${where}: ${written(whole.values[at])} \u00b1 ${written(whole.step, 1).slice(1)}${each}`;
  view.readout.dataset.value = whole.values[at];
  view.readout.dataset.precision = whole.step;
  mark(view, row, column);
}

function mark(view, row, column) {
  const [rows, columns] = view.shown.sprite.size;
  view.cross.hidden = false;
  view.cross.style.left = `${((column + 0.5) / columns) * 100}%`;
  view.cross.style.top = `${((row + 0.5) / rows) * 100}%`;
  view.place = [row, column];
}

function step(view, event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const limits = view.shown.sprite.size;
  const pace = event.shiftKey ? 10 : 1;
  read(view, view.place.map((at, axis) => Math.min(Math.max(at + pace * steps[event.key][axis], 0), limits[axis] - 1)));
  view.readout.setAttribute("aria-live", "polite");
}

// --- a section and its controls --------------------------------------------------------------------------

function show(view, part) {
  const again = part !== "all" && part === view.part;
  view.part = again ? "all" : part;
  view.shown = partOf(view.entry, view.part);
  view.buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.part === view.part)));
  view.status.textContent = `Shown: ${nameOf(view.entry, view.part)}, score ${written(scoreOf(view))}`;
  view.cross.hidden = true;
  view.place = view.shown.sprite.size.map((side) => Math.floor(side / 2));
  draw(view);
}

function scoreOf(view) {
  if (view.part === "all") return view.entry.total ?? NaN;
  const button = view.buttons.find((one) => one.dataset.part === view.part);
  const cell = button.closest("td") || button.closest("tr").querySelector("[data-value]");
  return Number(cell.dataset.value);
}

function makeButton(holder, part, entry) {
  const button = document.createElement("button");
  const name = nameOf(entry, part);
  button.type = "button";
  button.dataset.part = part;
  button.textContent = holder.textContent;
  button.setAttribute("aria-pressed", "false");
  button.title = `Show where ${name} mattered`;
  if (part.startsWith("pair")) button.setAttribute("aria-label", `${name}: ${holder.textContent}`);
  return button;
}

function makeButtons(section, entry) {
  section.querySelectorAll("span[data-part]").forEach((span) => span.replaceWith(makeButton(span, span.dataset.part, entry)));
  section.querySelectorAll("tr[data-filter]").forEach((row) => {
    row.querySelectorAll("td").forEach((cell, color) => {
      cell.replaceChildren(makeButton(cell, `pair ${color} ${row.dataset.filter}`, entry));
    });
  });
}

function rove(table) {
  const buttons = [...table.querySelectorAll("button")];
  const wide = Math.max(...[...table.rows].map((row) => row.querySelectorAll("button").length));
  buttons.forEach((button, at) => { button.tabIndex = at ? -1 : 0; });
  table.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(event.target);
    const places = { ArrowDown: at + wide, ArrowUp: at - wide, ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 };
    if (at < 0 || !(event.key in places)) return;
    event.preventDefault();
    buttons[places[event.key]]?.focus();
  });
  table.addEventListener("focusin", (event) => {
    if (event.target.tagName === "BUTTON") buttons.forEach((button) => { button.tabIndex = button === event.target ? 0 : -1; });
  });
}

function makeCanvas(section, entry) {
  const canvas = document.createElement("canvas");
  const still = section.querySelector(".still");
  canvas.className = "drawn";
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "map");
  canvas.setAttribute("aria-label", `${still.alt} Arrow keys move the place whose value is read.`);
  still.replaceWith(canvas);
  const cross = document.createElement("span");
  cross.className = "cross";
  cross.hidden = true;
  canvas.after(cross);
  return { canvas, cross };
}

function viewOf(section, entry) {
  const find = (name) => section.querySelector(`.${name}`);
  makeButtons(section, entry);
  section.querySelectorAll("table").forEach(rove);
  const whole = find("whole");
  whole.dataset.part = "all";
  find("controls").hidden = false;
  return {
    entry, part: "all", place: [0, 0], ...makeCanvas(section, entry), buttons: [...section.querySelectorAll("[data-part]")],
    status: find("shown"), readout: find("readout"), smooth: find("smooth"), opacity: find("opacity"),
    stage: find("stage"), low: find("low"), high: find("high"), note: find("note"),
  };
}

function listen(section, view) {
  section.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-part]");
    if (button) show(view, button.dataset.part);
  });
  section.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && view.part !== "all") show(view, "all");
  });
  view.opacity.addEventListener("input", () => view.stage.style.setProperty("--map", view.opacity.value / 100));
  view.smooth.addEventListener("input", () => draw(view));
  view.canvas.addEventListener("pointermove", (event) => {
    view.readout.removeAttribute("aria-live");
    read(view, placeAt(view, event));
  });
  view.canvas.addEventListener("pointerdown", (event) => read(view, placeAt(view, event)));
  view.canvas.addEventListener("focus", () => read(view, view.place));
  view.canvas.addEventListener("keydown", (event) => step(view, event));
}

async function open(section) {
  if (section.dataset.state) return;
  section.dataset.state = "opening";
  const entry = report.entries[section.id];
  entry.pairMaps = await decoded(entry.pairs);
  entry.pixelMaps = entry.pixels ? await decoded(entry.pixels) : null;
  const view = viewOf(section, entry);
  listen(section, view);
  show(view, "all");
  section.dataset.state = "ready";
}

function openVisible() {
  document.querySelectorAll("section.output").forEach((section) => {
    if (section.offsetParent !== null) open(section);
  });
}

document.addEventListener("chosen", openVisible);
openVisible();
