/** What the schedules of the alarms stack save. */
import type { CostLine } from './bill.ts'
import { type PlannedResource, required } from './plan.ts'
import type { Context } from './pricing-rule.ts'

/** What the schedules of the alarms stack switch off and on. The nodes of Karpenter sleep with the system nodes. */
type Sleeper = 'database' | 'system-nodes'

const MINUTES_PER_WEEK = 7 * 24 * 60

/** A line for something that costs nothing while it sleeps. */
export function whileAwake(entry: CostLine, sleeper: Sleeper, context: Context): CostLine {
  const asleep = minutesAsleep(sleeper, context)
  if (asleep === 0) return entry
  const share = 1 - asleep / MINUTES_PER_WEEK
  const schedule = `the ${sleeper.replace('-', ' ')} asleep for ${Number((asleep / 60).toFixed(1))} of the week's 168 hours`
  const assumption = entry.assumption === undefined ? schedule : `${entry.assumption}; ${schedule}`
  return { ...entry, quantity: entry.quantity * share, usd: entry.usd * share, assumption }
}

function minutesAsleep(sleeper: Sleeper, { resources }: Context): number {
  const times = (step: string) =>
    resources
      .filter(({ type, values }) => type === 'aws_scheduler_schedule' && values['name'] === step)
      .flatMap(minutesOfWeek)
  const on = times(`${sleeper}-on`)
  return times(`${sleeper}-off`)
    .map((off) => Math.min(...on.map((time) => (time - off + MINUTES_PER_WEEK) % MINUTES_PER_WEEK)))
    .reduce((total, minutes) => total + minutes, 0)
}

const WEEKDAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT']

/** When a schedule runs, in minutes since the beginning of Sunday. */
function minutesOfWeek(schedule: PlannedResource): number[] {
  const cron = String(schedule.values['schedule_expression'])
  const [, minute, hour, days] = /^cron\((\d+) (\d+) \? \* (\S+) \*\)$/.exec(cron) ?? []
  return required(days, schedule, 'a weekly schedule')
    .split(',')
    .flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map((day) => WEEKDAYS.indexOf(day))
      return Array.from({ length: ((last - first + 7) % 7) + 1 }, (_, index) => (first + index) % 7)
    })
    .map((day) => (day * 24 + Number(hour)) * 60 + Number(minute))
}
