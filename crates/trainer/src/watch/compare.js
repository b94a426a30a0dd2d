// Two pictures of one size on top of each other, and an edge between them that can be moved.
class Compare {
  constructor(place) {
    this.box = document.createElement("div");
    this.box.className = "compare";
    this.after = document.createElement("canvas");
    this.before = document.createElement("canvas");
    const edge = document.createElement("div");
    edge.className = "edge";
    this.slider = document.createElement("input");
    Object.assign(this.slider, { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
    const move = () => {
      const at = this.slider.value;
      this.before.style.clipPath = `inset(0 ${100 - at}% 0 0)`;
      edge.style.left = `${at}%`;
    };
    this.slider.addEventListener("input", move);
    this.names = ["before", "after"].map((side) => {
      const name = document.createElement("span");
      name.className = side;
      return name;
    });
    this.box.append(this.after, this.before, edge, ...this.names, this.slider);
    place.replaceChildren(this.box);
    move();
  }

  // Each picture is what `drawImage` takes before the place: an image, and its part if not all of it.
  show(before, after, [width, height], names) {
    [[this.before, before], [this.after, after]].forEach(([canvas, part]) => {
      canvas.width = width;
      canvas.height = height;
      const c = canvas.getContext("2d");
      c.imageSmoothingEnabled = false;
      c.drawImage(...part, 0, 0, width, height);
    });
    this.names.forEach((name, i) => { name.textContent = names[i]; });
    this.slider.setAttribute("aria-label", `Edge between ${names[0]} and ${names[1]}`);
  }
}
