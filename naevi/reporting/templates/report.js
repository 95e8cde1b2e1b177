// Examples: enlarge one, and step through them.
const examples = [...document.querySelectorAll('.examples button')], dialog = document.getElementById('large');
let shown = 0;
function show(index) {
  shown = (index + examples.length) % examples.length;
  const [overlay, plain] = examples[shown].querySelectorAll('img');
  for (const [id, source] of [['large-overlay', overlay], ['large-plain', plain]]) {
    const view = document.getElementById(id);
    view.src = source.src;
    view.alt = source.alt;
  }
  const caption = examples[shown].querySelector('.caption').innerText.split('\n').join(', ');
  document.getElementById('large-text').textContent = `${caption}, ${examples[shown].dataset.more}`;
  if (!dialog.open) dialog.showModal();
}
examples.forEach((button, index) => button.addEventListener('click', () => show(index)));
document.getElementById('previous').addEventListener('click', () => show(shown - 1));
document.getElementById('next').addEventListener('click', () => show(shown + 1));
document.getElementById('close').addEventListener('click', () => dialog.close());
dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener('close', () => examples[shown].focus());
dialog.addEventListener('keydown', event => {
  if (event.key === 'ArrowLeft') show(shown - 1);
  if (event.key === 'ArrowRight') show(shown + 1);
});

// The table of all images: sort and filter it.
const table = document.getElementById('image-table'), body = table.tBodies[0], rows = [...body.rows];
const heads = [...table.tHead.rows[0].cells], filters = document.getElementById('filters');
function sort(column) {
  const up = heads[column].ariaSort !== 'ascending', sign = up ? 1 : -1, isNumber = heads[column].dataset.kind === 'number';
  heads.forEach((head, index) => head.setAttribute('aria-sort', index !== column ? 'none' : up ? 'ascending' : 'descending'));
  const value = row => isNumber ? Number.parseFloat(row.cells[column].textContent) : row.cells[column].textContent;
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (!isNumber) return sign * x.localeCompare(y, 'en', {numeric: true});
    return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : sign * (x - y);
  });
  body.append(...rows);
}
function filter() {
  const [diagnosis, dice, area] = ['by-diagnosis', 'by-dice', 'by-area'].map(id => document.getElementById(id).value);
  for (const row of rows) {
    const data = row.dataset;
    row.hidden = Boolean(diagnosis && data.diagnosis !== diagnosis || dice && !(Number(data.dice) < Number(dice)) || area && data.area !== area);
  }
  document.getElementById('count').textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} images`;
}
heads.forEach((head, column) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = head.textContent;
  button.addEventListener('click', () => sort(column));
  head.replaceChildren(button);
});
filters.addEventListener('input', filter);
filters.addEventListener('submit', event => event.preventDefault());
filters.hidden = false;
filter();
addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(details => { details.open = true; }));
