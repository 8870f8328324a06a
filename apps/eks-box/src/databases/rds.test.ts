/** The box's RDS in front of the real emulator. The server is covered beside it; here, only its calls are recorded. */
import { mkdirSync, readdirSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { DescribeSubnetsCommand, EC2Client } from '@aws-sdk/client-ec2'
import {
  CreateDBInstanceCommand,
  CreateDBSnapshotCommand,
  CreateDBSubnetGroupCommand,
  DeleteDBInstanceAutomatedBackupCommand,
  DeleteDBInstanceCommand,
  DescribeDBInstanceAutomatedBackupsCommand,
  DescribeDBInstancesCommand,
  ModifyDBInstanceCommand,
  RDSClient,
  RestoreDBInstanceFromDBSnapshotCommand,
  RestoreDBInstanceToPointInTimeCommand,
} from '@aws-sdk/client-rds'
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { execa } from 'execa'
import { readBoxConfig } from 'shared/box'
import t, { type Test } from 'tap'
import { Emulator } from '../aws/emulator.ts'
import { createGateway } from '../aws/gateway.ts'
import { AccountKeys } from '../aws/keys.ts'
import type { AwsRequest } from '../aws/request.ts'
import { motoCommand } from '../components/aws.ts'
import { openPort } from '../lifecycle/ports.ts'
import type { Backup } from './backups.ts'
import { Rds } from './rds.ts'

const region = 'eu-central-1'

async function freePort(): Promise<number> {
  const listener = await openPort(0, 'port')
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}

const motoPort = await freePort()
const [python, ...script] = motoCommand(readBoxConfig(process.env))
const moto = execa(python, [...script, '--host', '127.0.0.1', '--port', String(motoPort)], {
  env: { PYTHONHASHSEED: '0' },
  reject: false,
  stdio: 'ignore',
})
t.teardown(async () => {
  moto.kill()
  await moto
})

/** A new account without an instance, and the calls of the server and of its backups. */
async function startAccount(t: Test) {
  const directory = t.testdir()
  const emulator = new Emulator({ host: '127.0.0.1', port: motoPort }, join(directory, 'journal.jsonl'))
  await emulator.restore(() => {})
  const calls: unknown[][] = []
  const passwords = new Set<string>()
  const recorded =
    (name: string) =>
    async (...args: unknown[]) => {
      calls.push([name, ...args])
    }
  let backups: Backup[] = []
  const unexpected = () => Promise.reject(new Error('this test does not call the service'))
  const gateway = createGateway({
    authenticate: async ({ headers }: AwsRequest) => {
      const [, service = ''] =
        /Credential=[^/]+\/\d{8}\/[^/]+\/([^/]+)/.exec(headers.authorization ?? '') ?? []
      const principalArn = 'arn:aws:iam::123456789012:root'
      const caller = { account: '123456789012', userId: 'test', arn: principalArn, principalArn }
      return { caller, accessKeyId: 'test', signature: { accessKeyId: 'test', region, service } as never }
    },
    eks: unexpected,
    eksAuth: unexpected,
    webIdentity: unexpected,
    emulator: async (request, { signature }) => {
      const forward = (sent: AwsRequest) => emulator.forward(sent)
      if (signature.service === 'rds') return rds.handle(request, forward)
      const response = await forward(request)
      return signature.service === 'secretsmanager' ? rds.completeSecret(response) : response
    },
  })
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    gateway.closeAllConnections()
    gateway.close()
  })
  const options = {
    endpoint: `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`,
    region,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    maxAttempts: 1,
  }
  const client = new RDSClient(options)
  const snapshots = join(directory, 'snapshots')
  const rds = new Rds({
    rds: client,
    secretsManager: new SecretsManagerClient(options),
    keys: new AccountKeys(Buffer.alloc(32)),
    server: {
      apply: async (database) => {
        calls.push(['apply', database?.name])
        if (database !== undefined) passwords.add(database.masterPassword)
      },
      dump: async (path) => {
        mkdirSync(path, { recursive: true })
      },
      load: recorded('load'),
      restart: recorded('restart'),
    },
    backups: {
      begin: async (resourceId) => {
        if (backups.some((backup) => backup.resourceId === resourceId)) return
        backups.push({ resourceId, from: '2026-11-22T10:00:00.000Z' })
      },
      retain: async (instance) => {
        backups = backups.map((backup) =>
          backup.until === undefined ? { ...backup, until: '2026-11-22T12:00:00.000Z', instance } : backup,
        )
      },
      discard: async () => {
        backups = backups.filter(({ until }) => until !== undefined)
      },
      delete: async (deleted) => {
        backups = backups.filter(({ resourceId }) => resourceId !== deleted.resourceId)
      },
      list: async () => backups,
      recover: async ({ resourceId }, time) => {
        calls.push(['recover', resourceId, time])
      },
    },
    setAddress: async () => {},
    snapshots,
    insights: join(directory, 'insights.xml'),
  })
  const { Subnets = [] } = await new EC2Client(options).send(new DescribeSubnetsCommand({}))
  await client.send(
    new CreateDBSubnetGroupCommand({
      DBSubnetGroupName: 'shop',
      DBSubnetGroupDescription: 'Shop',
      SubnetIds: Subnets.slice(0, 2).map(({ SubnetId = '' }) => SubnetId),
    }),
  )
  await client.send(
    new CreateDBInstanceCommand({
      DBInstanceIdentifier: 'shop',
      DBInstanceClass: 'db.t4g.micro',
      DBSubnetGroupName: 'shop',
      Engine: 'postgres',
      EngineVersion: '17.6',
      AllocatedStorage: 30,
      PreferredBackupWindow: '01:00-02:00',
      DBName: 'orders',
      MasterUsername: 'master',
      ManageMasterUserPassword: true,
    }),
  )
  const describe = async () => (await client.send(new DescribeDBInstancesCommand({}))).DBInstances?.[0]
  const backupsOf = async () =>
    (await client.send(new DescribeDBInstanceAutomatedBackupsCommand({ DBInstanceIdentifier: 'shop' })))
      .DBInstanceAutomatedBackups
  const remove = (DeleteAutomatedBackups: boolean) =>
    client.send(
      new DeleteDBInstanceCommand({
        DBInstanceIdentifier: 'shop',
        SkipFinalSnapshot: true,
        DeleteAutomatedBackups,
      }),
    )
  const restore = (SourceDbiResourceId: string, time?: string) =>
    client.send(
      new RestoreDBInstanceToPointInTimeCommand({
        SourceDbiResourceId,
        TargetDBInstanceIdentifier: 'shop',
        DBInstanceClass: 'db.t4g.small',
        DBSubnetGroupName: 'shop',
        ...(time === undefined ? { UseLatestRestorableTime: true } : { RestoreTime: new Date(time) }),
      }),
    )
  const replay = () => emulator.restore(() => {})
  return { client, calls, passwords, snapshots, describe, backupsOf, remove, restore, replay }
}

await t.test('a master password of the caller is refused', async (t) => {
  const { client, describe } = await startAccount(t)
  const change = { DBInstanceIdentifier: 'shop', MasterUserPassword: 'of-the-caller' }
  await t.rejects(client.send(new ModifyDBInstanceCommand(change)), {
    message: /use ManageMasterUserPassword/,
  })
  t.equal((await describe())?.DBInstanceStatus, 'available')
})

await t.test('an instance without a subnet group, which would get no address, is refused', async (t) => {
  const { client, remove, describe } = await startAccount(t)
  await remove(true)
  const instance = { DBInstanceIdentifier: 'shop', DBInstanceClass: 'db.t4g.micro', Engine: 'postgres' }
  const command = new CreateDBInstanceCommand({ ...instance, ManageMasterUserPassword: true })
  await t.rejects(client.send(command), { message: /use DBSubnetGroupName/ })
  t.equal(await describe(), undefined)
})

await t.test('each instance has a resource id of its own, and an automated backup', async (t) => {
  const { describe, backupsOf, remove } = await startAccount(t)
  const instance = await describe()
  t.match(instance?.DbiResourceId, /^db-[0-9A-F]{26}$/)
  t.match(await backupsOf(), [
    {
      DbiResourceId: instance?.DbiResourceId,
      Status: 'active',
      RestoreWindow: { EarliestTime: new Date('2026-11-22T10:00:00Z') },
    },
  ])
  await remove(true)
  t.strictSame(await backupsOf(), [])
})

await t.test('a rotation gives the server a new master password', async (t) => {
  const { client, describe, passwords } = await startAccount(t)
  await client.send(
    new ModifyDBInstanceCommand({
      DBInstanceIdentifier: 'shop',
      RotateMasterUserPassword: true,
      ApplyImmediately: true,
    }),
  )
  t.equal(passwords.size, 2)
  t.equal((await describe())?.DBInstanceStatus, 'available')
})

await t.test('a deleted instance is restored to a point in time', async (t) => {
  const { client, calls, describe, backupsOf, remove, restore, replay } = await startAccount(t)
  const { DbiResourceId: former = '' } = (await describe()) ?? {}
  await t.rejects(restore(former), { name: 'DBInstanceAlreadyExists' }, 'the name is in use')
  await remove(false)
  t.match(await backupsOf(), [{ Status: 'retained', DBInstanceIdentifier: 'shop' }])
  await t.rejects(restore('db-UNKNOWN'), { name: 'DBInstanceAutomatedBackupNotFoundFault' })
  await t.rejects(restore(former, '2026-11-22T13:00:00Z'), { message: /^RestoreTime must be from/ })

  const { DBInstance } = await restore(former, '2026-11-22T11:00:00Z')
  const restored = {
    ...{ DBName: 'orders', MasterUsername: 'master', Engine: 'postgres', EngineVersion: '17.6' },
    ...{ AllocatedStorage: 30, DBInstanceClass: 'db.t4g.small' },
    PreferredBackupWindow: '01:00-02:00',
  }
  t.match(DBInstance, restored)
  t.match(await describe(), restored)
  const resourceId = (await describe())?.DbiResourceId
  t.not(resourceId, former)
  await replay()
  t.equal((await describe())?.DbiResourceId, resourceId, 'after a restart of the box')
  const order = calls.map(([name]) => name)
  t.ok(order.lastIndexOf('recover') < order.lastIndexOf('load'))
  t.ok(order.lastIndexOf('load') < order.lastIndexOf('apply'))
  t.strictSame(
    calls.filter(([name]) => name === 'recover'),
    [['recover', former, '2026-11-22T11:00:00Z']],
  )
  t.strictSame((await backupsOf())?.map(({ Status }) => Status).sort(), ['active', 'retained'])
  await client.send(new DeleteDBInstanceAutomatedBackupCommand({ DbiResourceId: former }))
  t.strictSame(
    (await backupsOf())?.map(({ Status }) => Status),
    ['active'],
  )
})

await t.test('a snapshot is restored after the deletion of its instance', async (t) => {
  const { client, calls, snapshots, describe, remove } = await startAccount(t)
  await client.send(
    new CreateDBSnapshotCommand({ DBInstanceIdentifier: 'shop', DBSnapshotIdentifier: 'before' }),
  )
  t.strictSame(readdirSync(snapshots), ['before'])
  await remove(true)
  await client.send(
    new RestoreDBInstanceFromDBSnapshotCommand({
      DBInstanceIdentifier: 'shop',
      DBSnapshotIdentifier: 'before',
    }),
  )
  t.match(await describe(), { DBName: 'orders', MasterUsername: 'master' })
  t.strictSame(
    calls.filter(([name]) => name === 'load'),
    [['load', join(snapshots, 'before')]],
  )
})
