import { readEnvironment } from 'shared/environment'
import t from 'tap'
import { planForCost, withPlanned } from './environment-plans.ts'

t.test('without the stacks that others read, the command names the one to apply', async (t) => {
  const local = readEnvironment({ ENV: 'local' })
  const empty = { ...local, box: { ...local.box, stateDir: t.testdir() } }
  await t.rejects(planForCost(['network', 'data'], empty, 'dev'), {
    message: /the stack cluster is not applied in the box/,
    nextStep: /`make apply STACK=cluster`/,
  })
})

t.test('other stacks read what the plan of the cluster knows, and else what the box has', async (t) => {
  const string = 'string'
  const group = ['object', { name: string, min_size: 'number' }]
  const applied = {
    cluster_name: { value: 'box', type: string },
    node_security_group_id: { value: 'sg-1', type: string },
    system_node_group: { value: { name: 'system-1', min_size: 2 }, type: group },
  }
  const outputs = {
    cluster_name: { value: 'planned', type: string },
    node_security_group_id: { type: string },
    database_subnet_ids: { value: null, type: string },
    pod_log_group: { value: '/aws/eks/planned/pods', type: string },
    // The name is known only after apply.
    system_node_group: { type: group },
  }
  const output_changes = { system_node_group: { after: { min_size: 0 } } }
  t.strictSame(withPlanned(applied, { planned_values: { outputs }, output_changes }), {
    cluster_name: { value: 'planned', type: string },
    node_security_group_id: { value: 'sg-1', type: string },
    pod_log_group: { value: '/aws/eks/planned/pods', type: string },
    system_node_group: { value: { name: 'system-1', min_size: 0 }, type: group },
  })
})
