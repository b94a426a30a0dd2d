(() => {
  const $ = (id) => document.getElementById(id);
  // In a file all data is inside; else the server gives it.
  const inlined = $("inlined") && JSON.parse($("inlined").textContent);
  const TITLES = new Map(Object.entries({
    G: "Generators, adversarial loss",
    D: "Discriminators, loss",
    cycle: "Cycle loss",
    idt: "Identity loss",
    NCE: "Patches, contrastive loss",
    features: "Feature matching loss",
    perceptual: "Perceptual loss",
    style: "Style loss",
    kid: "KID",
    kid_error: "KID, standard error",
    fid: "FID",
    lpips_cycle: "LPIPS of pictures and what comes back",
    lpips_diversity: "LPIPS of translations among each other",
    identity: "Descriptors of people, distance to their translations’",
    identity_cycle: "Descriptors of people, distance to what comes back",
    l1_cycle: "Pixels’ difference of pictures and what comes back",
    gradient_norm: "Gradient norms",
    correlation: "Brightness, correlation with the input",
    variety: "Variety of translations, share of the inputs’",
    learning_rate: "Learning rate",
    images_per_second: "Pictures of each domain a second",
    steps_per_second: "Steps a second",
    memory: "Memory of the trainer",
    device_memory: "Memory on the GPU",
    loss_scale: "Loss scale",
  }));
  // More points than this are asked for again, in fewer.
  const MOST_POINTS = 3000;
  let overview = null;

  function node(name, text, parts = {}) {
    const made = Object.assign(document.createElement(name), parts);
    if (text !== undefined) made.textContent = text;
    return made;
  }
  // Whether something is otherwise than when it was asked last: what stays is not drawn anew.
  const seen = new Map();
  function changed(key, value) {
    const json = JSON.stringify(value);
    const is = seen.get(key) !== json;
    seen.set(key, json);
    return is;
  }
  const whole = (number) => Math.round(number).toLocaleString("en");
  function duration(seconds) {
    const [d, h, m] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
    if (d) return `${d} d ${h} h`;
    if (h) return `${h} h ${m} min`;
    return m ? `${m} min` : `${Math.round(seconds)} s`;
  }

  // ---- What is said about the run

  function showOverview() {
    const { name, state, step, of, pace, device, checkpoints, version } = overview;
    const at = state === "at work";
    document.title = of ? `${Math.floor((100 * step) / of)} % ${name} – Henshin` : `${name} – Henshin`;
    $("name").textContent = name;
    $("state").textContent = state;
    $("state").className = `badge ${at || state === "finished" ? "good" : /failed|broken/.test(state) ? "bad" : ""}`;
    $("bar").hidden = !of;
    $("bar").max = of || 1;
    $("bar").value = step;
    const facts = [["Step", of ? `${whole(step)} of ${whole(of)}` : whole(step)]];
    if (pace?.images_per_second) {
      facts.push([at ? "Pictures a second" : "Pictures a second, last", format(pace.images_per_second)]);
      if (at && of > step && pace.steps_per_second) facts.push(["Time left", duration((of - step) / pace.steps_per_second)]);
    }
    if (pace?.memory) facts.push(["Memory", format(pace.memory, "bytes")]);
    if (pace?.device_memory) facts.push(["Memory on the GPU", format(pace.device_memory, "bytes")]);
    facts.push(["Newest checkpoint", checkpoints.length ? `step ${whole(checkpoints.at(-1))}` : "none yet"]);
    if (device) facts.push(["Device", device]);
    if (version) facts.push(["Henshin", version]);
    $("facts").replaceChildren(...facts.map(([key, value]) => {
      const fact = node("div");
      fact.append(node("dt", key), node("dd", value));
      return fact;
    }));
    if (changed("events", overview.events)) showEvents();
    if (changed("settings", overview.settings)) showSettings();
    if (changed("samples", overview.samples)) showSamples();
  }

  function showSettings() {
    $("settings").replaceChildren(...overview.settings.map(([key, value]) => {
      const row = node("div");
      row.append(node("dt", key), node("dd", value === "" ? "–" : value));
      return row;
    }));
  }

  function showEvents() {
    const words = (event) => {
      const step = event.step === undefined ? "" : `after step ${whole(event.step)}`;
      switch (event.event) {
        case "began": return event.step ? `went on ${step} on ${event.device}` : `began on ${event.device}`;
        case "recovered": return `recovered: ${event.reason}`;
        case "failed": return `failed ${step}: ${event.reason}`;
        default: return `${event.event} ${step}`;
      }
    };
    $("events").replaceChildren(...overview.events.map((event) => {
      const row = node("li");
      const time = node("time", String(event.time ?? "").replace("T", " ").replace("Z", " UTC"));
      const changes = event.changes?.length ? `, with ${event.changes.join(", ")}` : "";
      row.append(time, ` ${words(event)}${changes}`);
      return row;
    }));
  }

  // ---- Sample sheets

  const compare = new Compare($("sheet-compare"));
  const sheet = { image: null, cells: null, shown: null, follow: true, timer: null };

  const sheetUrl = ({ step, version }) => inlined ? inlined.sheets[step].url : `samples/${step}?v=${version}`;

  function showSamples() {
    const { samples, layout } = overview;
    // A method with one generator has no way back.
    $("direction").closest("label").hidden = !layout.captions.includes("fake A");
    $("samples").hidden = !samples.length;
    if (!samples.length) return;
    const slider = $("when");
    const old = Number(slider.value);
    slider.max = samples.length - 1;
    slider.value = sheet.follow ? samples.length - 1 : Math.min(old, samples.length - 1);
    loadSheet();
  }

  // Shows the sheet that the slider is at, when it has arrived.
  function loadSheet() {
    const chosen = overview.samples[Number($("when").value)];
    const url = sheetUrl(chosen);
    const text = `step ${whole(chosen.step)}`;
    $("when-step").textContent = text;
    $("when").setAttribute("aria-valuetext", text);
    if (sheet.wanted === url) return sheet.loading;
    sheet.wanted = url;
    const image = new Image();
    image.src = url;
    sheet.loading = image.decode().then(() => {
      if (sheet.wanted !== url) return;
      const original = inlined ? inlined.sheets[chosen.step] : { width: image.naturalWidth, height: image.naturalHeight };
      sheet.image = image;
      sheet.scale = image.naturalWidth / original.width;
      sheet.cells = cells(original.width, original.height);
      $("sheet").setAttribute("aria-label", `Sample sheet after step ${chosen.step}`);
      drawSheet();
    }, () => { sheet.wanted = null; });
    return sheet.loading;
  }

  // Where pictures are on a sheet of a size; none where it is laid out in another way.
  function cells(width, height) {
    const { captions, gap, caption } = overview.layout;
    const side = (width - gap) / captions.length - gap;
    const rows = (height - caption - gap) / (side + gap);
    if (!Number.isInteger(side) || !Number.isInteger(rows) || side < 1 || rows < 1) return null;
    return { side, rows, at: (column, row) => [gap + column * (side + gap), caption + gap + row * (side + gap)] };
  }

  function drawSheet() {
    const { image, cells } = sheet;
    const canvas = $("sheet");
    // Its own captions are too small on a phone.
    const cut = cells ? overview.layout.caption * sheet.scale : 0;
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight - Math.round(cut);
    const c = canvas.getContext("2d");
    c.translate(0, -cut);
    c.drawImage(image, 0, 0);
    $("captions").replaceChildren(...(cells ? overview.layout.captions : []).map((text) => node("span", text)));
    $("sheet-compare").parentElement.hidden = !cells;
    if (!cells) return;
    fill($("row"), Array.from({ length: cells.rows }, (_, i) => [i, i + 1]));
    const { captions, pairs } = overview.layout;
    fill($("pair"), pairs.map(([a, b], i) => [i, `${captions[a]} – ${captions[b]}`]));
    const row = Number($("row").value);
    const [a, b] = pairs[Number($("pair").value)];
    const scaled = (column) => [...cells.at(column, row), cells.side, cells.side].map((x) => x * sheet.scale);
    const size = Math.round(cells.side * sheet.scale);
    compare.show([image, ...scaled(a)], [image, ...scaled(b)], [size, size], [captions[a], captions[b]]);
    c.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    c.lineWidth = Math.max(3, cells.side / 40);
    for (const column of [a, b]) c.strokeRect(...scaled(column));
  }

  function fill(select, options) {
    if (select.options.length === options.length) return;
    const old = select.value;
    select.replaceChildren(...options.map(([value, text]) => node("option", text, { value })));
    if ([...select.options].some((option) => option.value === old)) select.value = old;
  }

  $("when").addEventListener("input", () => {
    sheet.follow = Number($("when").value) === overview.samples.length - 1;
    loadSheet();
  });
  for (const id of ["row", "pair"]) $(id).addEventListener("change", () => sheet.image && drawSheet());
  $("sheet").addEventListener("click", (event) => {
    if (!sheet.cells) return;
    const canvas = $("sheet");
    const factor = canvas.width / canvas.clientWidth / sheet.scale;
    const { side, rows, at } = sheet.cells;
    const [left, top] = at(0, 0);
    const pitch = side + overview.layout.gap;
    const column = Math.floor((event.offsetX * factor - left) / pitch);
    const row = Math.floor((event.offsetY * factor + overview.layout.caption - top) / pitch);
    // The foremost pair that shows the column.
    const pair = overview.layout.pairs.findIndex((pair) => pair.includes(column));
    if (row < 0 || row >= rows || pair < 0) return;
    $("row").value = row;
    $("pair").value = pair;
    drawSheet();
  });

  function play(on) {
    $("play").textContent = on ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", String(on));
    clearTimeout(sheet.timer);
    sheet.timer = null;
    if (!on) return;
    const slider = $("when");
    if (slider.value === slider.max) slider.value = 0;
    const next = async () => {
      await loadSheet();
      if (sheet.timer === null) return;
      if (Number(slider.value) >= Number(slider.max)) {
        sheet.follow = true;
        play(false);
        return;
      }
      sheet.timer = setTimeout(() => {
        slider.value = Number(slider.value) + 1;
        next();
      }, 300);
    };
    sheet.follow = false;
    sheet.timer = 0;
    next();
  }
  $("play").addEventListener("click", () => play(sheet.timer === null));

  // ---- Numbers

  const series = new Map();
  const charts = new Map();
  const host = {
    view: null,
    at: null,
    smoothing: 0,
    logarithmic: false,
    zoom(from, to) {
      const last = lastStep();
      from = Math.max(0, Math.floor(from));
      to = Math.min(last, Math.ceil(to));
      if (from <= 1 && to >= last) return host.unzoom();
      if (to - from < 2) return undefined;
      host.view = [from, to];
      $("range").value = "zoomed";
      return load();
    },
    unzoom() {
      host.view = null;
      $("range").value = "";
      return load();
    },
    point(step) {
      host.at = step;
      redraw(false);
    },
  };
  const lastStep = () => Math.max(0, ...[...series.values()].map((s) => s.last));

  function setSeries(list) {
    series.clear();
    for (const item of list) series.set(item.name, item);
    regroup();
  }

  function regroup() {
    const groups = new Map();
    for (const item of series.values()) {
      if (!groups.has(item.group)) groups.set(item.group, []);
      groups.get(item.group).push(item);
    }
    const order = [...TITLES.keys()];
    const rank = (group) => (order.includes(group) ? order.indexOf(group) : order.indexOf("gradient_norm") - 0.5);
    const sorted = [...groups].sort(([a], [b]) => rank(a) - rank(b));
    for (const [group, items] of sorted) {
      if (!charts.has(group)) {
        const unit = /(^|_)memory$/.test(group) ? "bytes" : /_per_second$/.test(group) ? "rate" : "";
        charts.set(group, new Chart(TITLES.get(group) ?? group.replaceAll("_", " "), unit, host));
      }
      charts.get(group).set(items);
    }
    for (const group of charts.keys()) if (!groups.has(group)) charts.delete(group);
    const cards = sorted.map(([group]) => charts.get(group).card);
    const place = $("charts");
    if (cards.length !== place.children.length || cards.some((card, i) => card !== place.children[i])) {
      place.replaceChildren(...cards);
    }
    $("no-numbers").hidden = cards.length > 0;
    $("reset").disabled = host.view === null;
    redraw();
  }

  // Draws all charts with the next frame, or only what moves with the pointer.
  let drawing = false, anew = false;
  function redraw(all = true) {
    anew ||= all;
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      for (const chart of charts.values()) anew ? chart.draw() : chart.point();
      drawing = anew = false;
    });
  }

  // Where the view is the last part of the run, it moves with it.
  function follow() {
    const share = Number($("range").value);
    if (!share) return;
    const last = lastStep();
    host.view = [Math.max(0, Math.floor(last * (1 - share))), last];
  }

  // All series in the present view: from the server, or from those in the file.
  let loads = 0;
  async function load() {
    const mine = ++loads;
    if (inlined) {
      const [from, to] = host.view ?? [0, Infinity];
      return setSeries(inlined.series.map((s) => {
        const within = s.steps.map((step) => step >= from && step <= to);
        const part = (column) => column.filter((_, i) => within[i]);
        return { ...s, steps: part(s.steps), mean: part(s.mean), min: part(s.min), max: part(s.max) };
      }));
    }
    const query = new URLSearchParams({ points: 1000 });
    // To the end and beyond, where it is followed.
    const fixed = host.view && $("range").value === "zoomed";
    if (host.view) query.set("from", host.view[0]);
    if (fixed) query.set("to", host.view[1]);
    try {
      const answer = await fetch(`series?${query}`);
      if (answer.ok && mine === loads) {
        setSeries(await answer.json());
      }
    } catch {
      // The events' connection says that the server is gone, and asks again when it is back.
    }
    return undefined;
  }

  function take(lines) {
    const fixed = host.view && $("range").value === "zoomed";
    let unknown = false, most = 0;
    for (const line of lines) {
      for (const [name, value] of Object.entries(line)) {
        if (name === "step" || typeof value !== "number") continue;
        const item = series.get(name);
        if (!item) unknown = true;
        if (!item || line.step <= item.last) continue;
        item.last = line.step;
        if (fixed) continue;
        item.steps.push(line.step);
        item.mean.push(value);
        if (item.min.length) {
          item.min.push(value);
          item.max.push(value);
        }
        most = Math.max(most, item.steps.length);
      }
    }
    follow();
    if (unknown || most > MOST_POINTS) load();
    else redraw();
  }

  const SMOOTHING = [0, 10, 30, 100, 300, 1000, 3000, 10000];
  $("smoothing").replaceChildren(...SMOOTHING.map((steps) => node("option", whole(steps), { value: steps })));
  $("smoothing").addEventListener("change", () => {
    host.smoothing = Number($("smoothing").value);
    redraw();
  });
  // About a thirtieth of the run, unless somebody chose.
  function chooseSmoothing() {
    const about = (overview.of || overview.step) / 30;
    host.smoothing = SMOOTHING.filter((steps) => steps <= about).at(-1) ?? 0;
    $("smoothing").value = host.smoothing;
  }
  $("log").addEventListener("change", () => {
    host.logarithmic = $("log").checked;
    redraw();
  });
  $("range").addEventListener("change", () => {
    host.view = null;
    follow();
    load();
  });
  $("reset").addEventListener("click", () => host.unzoom());
  window.addEventListener("resize", () => redraw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    redraw();
    if (sheet.image) drawSheet();
  });

  // ---- A picture of one's own

  const own = { compare: new Compare($("picture-compare")), file: null, asked: 0 };

  async function translate() {
    if (!own.file) return;
    const mine = ++own.asked;
    const say = (text, bad) => {
      $("translated").textContent = text;
      $("translated").className = bad ? "note bad" : "note";
    };
    const direction = $("direction").value;
    const query = new URLSearchParams({ direction });
    if ($("side").value) query.set("side", $("side").value);
    say("Translating …");
    try {
      const answer = await fetch(`translate?${query}`, {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream" },
        body: own.file,
      });
      const result = await answer.json();
      if (mine !== own.asked) return;
      if (!answer.ok) return say(result.error, true);
      const pictures = await Promise.all([result.before, result.after].map(async (url) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        return image;
      }));
      const { width, height, step, seconds } = result;
      const [from, to] = direction === "AtoB" ? ["A", "B"] : ["B", "A"];
      $("picture-compare").hidden = false;
      own.compare.show([pictures[0]], [pictures[1]], [width, height], [`real ${from}`, `fake ${to}`]);
      $("save").href = result.after;
      $("save").hidden = false;
      say(`Translated by the checkpoint after step ${whole(step)} at ${width}×${height} in ${format(seconds)} s.`);
    } catch {
      if (mine === own.asked) say("The server does not answer. Is `trainer watch` still at work?", true);
    }
  }
  function choose(file) {
    if (!file) return;
    own.file = file;
    translate();
  }
  function offerSides() {
    if ($("side").options.length || !overview.size) return;
    const sides = [1, 2, 4].map((times) => times * overview.size).filter((side) => side <= 2048);
    const options = sides.map((side, i) => node("option", i ? `${side} pixels` : `${side} pixels, as trained`, { value: side }));
    $("side").replaceChildren(...options, node("option", "as it is (2,048 at the most)", { value: "" }));
  }
  $("file").addEventListener("change", () => choose($("file").files[0]));
  for (const id of ["direction", "side"]) $(id).addEventListener("change", translate);
  if (!inlined) {
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      $("drop").classList.add("over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) $("drop").classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      $("drop").classList.remove("over");
      choose(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => choose(event.clipboardData.files[0]));
  }

  // ---- Beginning

  if (inlined) {
    overview = inlined.overview;
    $("offline").hidden = false;
    $("offline").textContent = "A report in a file: nothing on it is live. `trainer watch` shows the run as it goes on and translates pictures.";
    chooseSmoothing();
    showOverview();
    load();
    return;
  }
  $("translate").hidden = false;
  const events = new EventSource("events");
  events.addEventListener("open", () => {
    $("connection").textContent = "";
    load();
  });
  events.addEventListener("error", () => {
    $("connection").textContent = "no connection; trying again";
  });
  events.addEventListener("run", (event) => {
    const first = overview === null;
    overview = JSON.parse(event.data);
    if (first) chooseSmoothing();
    offerSides();
    showOverview();
  });
  events.addEventListener("lines", (event) => take(JSON.parse(event.data)));
  events.addEventListener("again", load);
})();
