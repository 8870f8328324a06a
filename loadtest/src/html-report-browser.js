// Runs in the browser, inside the report. Without it, the report lacks the values at a moment and the download.

{
  const runs = JSON.parse(document.getElementById('runs').textContent)
  const { left, right, width, end, step, lines, events } = JSON.parse(
    document.getElementById('chart-data').textContent,
  )
  const slider = document.getElementById('moment')
  const charts = document.getElementById('charts')
  const cursors = charts.querySelectorAll('.cursor')
  const readouts = charts.querySelectorAll('[data-line]')
  const now = document.getElementById('moment-text')

  const formatMoment = (second) => {
    const parts = [Math.floor(second / 3600), Math.floor(second / 60) % 60, second % 60]
    if (parts[0] === 0) parts.shift()
    return parts.map((part, index) => String(part).padStart(index === 0 ? 1 : 2, '0')).join(':')
  }

  /** Index of the last row that is not after the moment. */
  const findRow = (seconds, moment) => {
    let [low, high] = [0, seconds.length - 1]
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (seconds[middle] <= moment) low = middle
      else high = middle - 1
    }
    return low
  }

  const formatValue = ({ run, unit, digits, values }, moment) => {
    const { second, stepSeconds } = runs[run].series
    const row = findRow(second, moment)
    const value = values[row]
    // The last row says nothing about the time after the recording.
    if (value === null || value === undefined || moment > second[row] + stepSeconds) return 'not measured'
    const number = value.toLocaleString('en-GB', {
      maximumFractionDigits: Math.abs(value) < 100 ? digits : 0,
    })
    return unit === '' || unit.startsWith('/') ? number + unit : `${number} ${unit}`
  }

  const show = () => {
    const moment = slider.valueAsNumber
    const x = left + ((width - left - right) * moment) / end
    for (const cursor of cursors) {
      cursor.setAttribute('x1', x)
      cursor.setAttribute('x2', x)
      cursor.setAttribute('visibility', 'visible')
    }
    const spoken = [formatMoment(moment)]
    for (const readout of readouts) {
      readout.textContent = formatValue(lines[readout.dataset.line], moment)
      spoken.push(`${readout.dataset.name} ${readout.textContent}`)
    }
    const near = events.filter(({ second }) => second > moment - step && second <= moment)
    const texts = near.map(({ second, text }) => `${formatMoment(Math.round(second))} ${text}`)
    now.textContent = [formatMoment(moment), ...texts].join(' · ')
    slider.setAttribute('aria-valuetext', [...spoken, ...texts].join(', '))
    charts.classList.add('at-moment')
  }

  document.getElementById('moment-control').hidden = false
  slider.addEventListener('input', show)
  slider.addEventListener('focus', show)

  const point = (event) => {
    const chart = event.target.closest('svg.plot')
    if (chart === null) return
    const box = chart.getBoundingClientRect()
    const x = ((event.clientX - box.left) / box.width) * width
    slider.value = Math.round((((x - left) / (width - left - right)) * end) / step) * step
    show()
  }
  charts.addEventListener('pointermove', point)
  charts.addEventListener('click', (event) => {
    point(event)
    if (event.target.closest('svg.plot') !== null) slider.focus({ preventScroll: true })
  })

  for (const button of document.querySelectorAll('[data-download]')) {
    button.hidden = false
    button.addEventListener('click', () => {
      const text = `${JSON.stringify(runs[button.dataset.run], null, 2)}\n`
      const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
      const link = document.createElement('a')
      link.href = url
      link.download = button.dataset.download
      link.click()
      URL.revokeObjectURL(url)
    })
  }
}
