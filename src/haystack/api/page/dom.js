// Making elements. Children are text or nodes: there is no way to hand in HTML.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function clear(node) {
  node.replaceChildren();
}

// Replace what is shown, unless it is the same: a screen reader or a selection is not disturbed every 15 seconds.
export function show(node, content) {
  const fresh = document.createDocumentFragment();
  fresh.append(...[content].flat(Infinity).filter((child) => child !== null && child !== undefined));
  const probe = document.createElement("div");
  probe.append(fresh);
  const same = probe.childNodes.length === node.childNodes.length
    && [...probe.childNodes].every((child, place) => child.isEqualNode(node.childNodes[place]));
  if (!same) node.replaceChildren(...probe.childNodes);
}
