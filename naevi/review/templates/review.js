const images = [...document.querySelectorAll('.image')], places = [...document.querySelectorAll('.place')];
const dialog = document.getElementById('large'), view = document.getElementById('large-view');
const outline = document.getElementById('outline'), filters = document.getElementById('filters');
let current = -1;

// Filter by reason and diagnosis. Images side by side stay together.
function visible() { return images.filter(image => !image.parentElement.hidden); }
function filter() {
  const [reason, diagnosis] = ['by-reason', 'by-diagnosis'].map(id => document.getElementById(id)?.value);
  const fits = ({dataset}) => (!diagnosis || dataset.diagnosis === diagnosis) && (!reason || (reason === 'any' ? dataset.reasons !== '' : dataset.reasons.split('; ').includes(reason)));
  let number = 0;
  for (const place of places) {
    const matching = [...place.children].filter(fits).length;
    place.hidden = matching === 0;
    number += matching;
  }
  document.getElementById('count').textContent = `${number} of ${images.length} images`;
}
filters.addEventListener('input', filter);
filters.addEventListener('submit', event => event.preventDefault());
filters.hidden = false;
filter();

// Show or hide the outlines.
function toggle() {
  const plain = document.body.classList.toggle('plain');
  outline.setAttribute('aria-pressed', String(!plain));
}
outline.addEventListener('click', toggle);

// Enlarge an image, and step through the images that pass the filters.
function show(index) {
  current = index;
  const copy = images[current].querySelector('.view').cloneNode(true), image = copy.querySelector('img');
  view.style.setProperty('--fit', `calc((100vh - 9rem) * ${image.getAttribute('width')} / ${image.getAttribute('height')})`);
  view.replaceChildren(copy);
  document.getElementById('large-text').textContent = images[current].querySelector('.caption').innerText;
  if (!dialog.open) dialog.showModal();
}
function step(by) {
  const shown = visible();
  if (!shown.length) return;
  const at = shown.indexOf(images[current]);
  const next = images.indexOf(at < 0 ? shown[by > 0 ? 0 : shown.length - 1] : shown[(at + by + shown.length) % shown.length]);
  if (dialog.open) return show(next);
  current = next;
  images[current].focus();
}
images.forEach((image, index) => {
  image.addEventListener('click', () => show(index));
  image.addEventListener('focus', () => { current = index; });
});
document.getElementById('previous').addEventListener('click', () => step(-1));
document.getElementById('next').addEventListener('click', () => step(1));
document.getElementById('close').addEventListener('click', () => dialog.close());
dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener('close', () => images[current].focus());
const steps = {ArrowLeft: -1, k: -1, ArrowRight: 1, j: 1};
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('select')) return;
  if (event.key in steps) {
    event.preventDefault();
    step(steps[event.key]);
  }
  if (event.key === 'o') toggle();
});
