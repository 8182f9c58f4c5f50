// The drawing pad: white strokes on black with a round pen, as the digits of MNIST are. Lengths are shares of the pad's side.

const PEN = 0.085; // 2.4 of 28 pixels, as wide as MNIST's pens
const ROOM = 20 / 28; // MNIST's digits fill 20 of 28 pixels, and lie with their centre of mass in the middle
const LARGEST = 4; // times that a small drawing is enlarged: a dot stays a dot

export function makePad(canvas, { onChange, onStroke }) {
  let strokes = [];
  let current = null;
  const pen = canvas.getContext("2d");

  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const show = () => {
    paint(pen, canvas.width, strokes);
    onChange(strokes.length);
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || current) return; // a second finger does not draw
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    current = { id: event.pointerId, points: [point(event)] };
    strokes.push(current.points);
    show();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== current?.id) return;
    const between = event.getCoalescedEvents?.() ?? [];
    current.points.push(...(between.length ? between : [event]).map(point));
    paint(pen, canvas.width, strokes);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (event.pointerId !== current?.id) return;
      current = null;
      onStroke();
    });
  }

  paint(pen, canvas.width, strokes);
  return {
    undo() { strokes.pop(); show(); return strokes.length; },
    clear() { strokes = []; current = null; show(); },
    // A PNG of the drawing; `centred` moves and scales it as MNIST's digits were.
    picture(side, centred) {
      const sheet = document.createElement("canvas");
      sheet.width = sheet.height = side;
      const context = sheet.getContext("2d", { willReadFrequently: true });
      paint(context, side, centred ? inTheMiddle(context, side, strokes) : strokes);
      return new Promise((done) => sheet.toBlob(done, "image/png"));
    },
  };
}

function paint(context, side, strokes) {
  context.fillStyle = "#000";
  context.fillRect(0, 0, side, side);
  context.strokeStyle = "#fff";
  context.lineWidth = PEN * side;
  context.lineCap = context.lineJoin = "round";
  for (const points of strokes) {
    context.beginPath();
    context.moveTo(points[0][0] * side, points[0][1] * side);
    for (const [x, y] of points.slice(1)) context.lineTo(x * side, y * side);
    if (points.length === 1) context.lineTo(points[0][0] * side, points[0][1] * side + 0.01);
    context.stroke();
  }
}

function inTheMiddle(context, side, strokes) {
  const all = strokes.flat();
  if (!all.length) return strokes;
  const [left, right] = ends(all.map(([x]) => x));
  const [top, bottom] = ends(all.map(([, y]) => y));
  const scale = Math.min((ROOM - PEN) / Math.max(right - left, bottom - top, 1e-6), LARGEST);
  const [x0, y0] = [(left + right) / 2, (top + bottom) / 2];
  const fitted = strokes.map((points) => points.map(([x, y]) => [0.5 + (x - x0) * scale, 0.5 + (y - y0) * scale]));
  paint(context, side, fitted);
  const [x1, y1] = centreOfMass(context.getImageData(0, 0, side, side).data, side);
  return fitted.map((points) => points.map(([x, y]) => [x + 0.5 - x1, y + 0.5 - y1]));
}

function ends(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function centreOfMass(pixels, side) {
  let [mass, x, y] = [0, 0, 0];
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const value = pixels[4 * (row * side + column)];
      mass += value;
      x += value * (column + 0.5);
      y += value * (row + 0.5);
    }
  }
  return mass ? [x / mass / side, y / mass / side] : [0.5, 0.5];
}
