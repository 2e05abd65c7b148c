"use strict";
// Buttons of a paged table. A button that is disabled while it has the focus would drop it: the other one takes it.
const turnable = (previous, next, page, pages) => {
  const [first, last] = [page === 0, page >= pages - 1];
  previous.disabled = next.disabled = false;
  if (first && !last && document.activeElement === previous) next.focus();
  if (last && !first && document.activeElement === next) previous.focus();
  previous.disabled = first;
  next.disabled = last;
};
