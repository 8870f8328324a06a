import t from 'tap'
import { edgeOf, missingStep } from './edge.ts'

const OUTPUTS = {
  ingress: { host: 'tasks.example.com', certificateArn: 'arn:certificate', cloudFrontPrefixList: '' },
  load_balancer: 'one.elb.amazonaws.com',
}

t.test("the stack's outputs become values of the chart's Ingress", async (t) => {
  t.strictSame(edgeOf(OUTPUTS), {
    host: 'tasks.example.com',
    settings: [
      ...['--set-string', 'ingress.host=tasks.example.com'],
      ...['--set-string', 'ingress.certificateArn=arn:certificate'],
      ...['--set-string', 'ingress.cloudFrontPrefixList='],
    ],
    loadBalancer: 'one.elb.amazonaws.com',
  })
})

t.test('without outputs the stack is not applied', async (t) => {
  t.equal(edgeOf({}), undefined)
})

t.test('a deployment says when the host does not lead to its load balancer', async (t) => {
  const edge = edgeOf(OUTPUTS)
  const before = edgeOf({ ...OUTPUTS, load_balancer: null })
  if (edge === undefined || before === undefined) throw new TypeError('the outputs describe an edge')
  t.equal(missingStep(edge, 'one.elb.amazonaws.com', 'dev'), undefined)
  t.equal(
    missingStep(before, 'one.elb.amazonaws.com', 'dev'),
    'WARNING: tasks.example.com does not lead to the load balancer yet: run `make apply STACK=edge ENV=dev`',
  )
  t.match(missingStep(edge, 'another.elb.amazonaws.com', 'dev'), 'leads to a load balancer that was replaced')
  t.match(missingStep(edge, undefined, 'dev'), 'was replaced', 'the new one has no name yet')
})
