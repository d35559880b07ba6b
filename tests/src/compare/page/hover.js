(() => {
  'use strict';
  const tip = document.getElementById('tip');
  const count = (number) => number.toLocaleString('en');
  const time = (us) => {
    if (us === 0) return '–';
    if (us < 1e3) return `${us} µs`;
    return us < 1e6 ? `${(us / 1e3).toPrecision(3)} ms` : `${(us / 1e6).toPrecision(3)} s`;
  };

  const show = (panel, index) => {
    const course = panel.course ??= JSON.parse(panel.dataset.course);
    if (course.length === 0) return;
    panel.index = Math.min(Math.max(index, 0), course.length - 1);
    const [at, due, delivered, median, longest, buffered] = course[panel.index];
    const [left, right, end] = panel.dataset.reach.split(' ').map(Number);
    const x = left + ((right - left) * at) / end;
    const cursor = panel.querySelector('.cursor');
    cursor.setAttribute('x1', x);
    cursor.setAttribute('x2', x);
    panel.classList.add('read');
    const rows = [
      ['at', `${(at / 1e3).toFixed(1)} s`],
      ['due', `${count(due)}/s`],
      ['delivered', `${count(delivered)}/s`],
      ['median', time(median)],
      ['longest', time(longest)],
      ['buffered', count(buffered)],
    ];
    tip.replaceChildren(...rows.flatMap(([name, value]) => {
      const [key, text] = [document.createElement('dt'), document.createElement('dd')];
      key.textContent = name;
      key.className = name;
      text.textContent = value;
      return [key, text];
    }));
    const box = panel.getBoundingClientRect();
    const place = box.left + (box.width * x) / panel.viewBox.baseVal.width;
    tip.hidden = false;
    const beside = place + tip.offsetWidth + 24 < innerWidth ? place + 12 : place - tip.offsetWidth - 12;
    tip.style.left = `${beside + scrollX}px`;
    tip.style.top = `${box.top + scrollY + 22}px`;
  };

  const hide = (panel) => {
    tip.hidden = true;
    panel.classList.remove('read');
  };

  for (const panel of document.querySelectorAll('svg.panel')) {
    panel.addEventListener('pointermove', (event) => {
      const course = panel.course ??= JSON.parse(panel.dataset.course);
      const [left, right, end] = panel.dataset.reach.split(' ').map(Number);
      const box = panel.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * panel.viewBox.baseVal.width;
      const at = ((x - left) / (right - left)) * end;
      const after = course.findIndex(([time]) => time > at);
      show(panel, (after < 0 ? course.length : after) - 1);
    });
    panel.addEventListener('pointerleave', () => hide(panel));
    panel.addEventListener('blur', () => hide(panel));
    panel.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) {
        event.preventDefault();
        show(panel, (panel.index ?? -1) + step);
      }
    });
  }
})();
