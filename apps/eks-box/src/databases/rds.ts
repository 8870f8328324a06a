import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  type DBInstance,
  paginateDescribeDBInstances,
  paginateDescribeDBParameters,
  type RDSClient,
} from '@aws-sdk/client-rds'
import { GetSecretValueCommand, type SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { ACCOUNT, REGION } from 'shared/box'
import { AwsError, escapeXml } from '../aws/aws-error.ts'
import type { AccountKeys } from '../aws/keys.ts'
import { type AwsRequest, type AwsResponse, operation, parameter } from '../aws/request.ts'
import type { Backup, Backups } from './backups.ts'
import type { Database, PostgresServer } from './postgres-server.ts'

export interface RdsOptions {
  /** With the box's own key. */
  rds: RDSClient
  secretsManager: SecretsManagerClient
  keys: AccountKeys
  server: Pick<PostgresServer, 'apply' | 'dump' | 'load' | 'restart'>
  backups: Pick<Backups, 'begin' | 'retain' | 'discard' | 'delete' | 'list' | 'recover'>
  /** Gives the server the address of an instance in one of these subnets, or takes it away. */
  setAddress: (entry: { host: string; subnetId: string } | undefined) => Promise<void>
  /** Directory with the data of snapshots. */
  snapshots: string
  /** File with what the emulator forgets about the instance. */
  insights: string
}

type Forward = (request: AwsRequest) => Promise<AwsResponse>

/** Delay before another attempt after an error, in milliseconds. */
const retryDelay = 2000

/** Operations that would need a second server. */
const unsupported =
  /^(CreateDBInstanceReadReplica|RestoreDBInstanceFromS3|CreateDBCluster|RestoreDBCluster\w*|CreateBlueGreenDeployment|CopyDBSnapshot)$/

/**
 * Makes the box's PostgreSQL server the RDS instance of the emulated account. The emulator keeps what the instance is;
 * this class carries it out.
 */
export class Rds {
  readonly #options: RdsOptions
  #work: Promise<unknown> = Promise.resolve()
  /** Whether the server is not yet what the account says. */
  #isPending = false
  #retry: NodeJS.Timeout | undefined

  constructor(options: RdsOptions) {
    this.#options = options
  }

  /** Handles a request to RDS; `forward` sends it to the emulator. */
  async handle(request: AwsRequest, forward: Forward): Promise<AwsResponse> {
    const name = operation(request) ?? ''
    if (unsupported.test(name)) {
      throw new AwsError('invalid', `The box does not support ${name}: it has one PostgreSQL server`)
    }
    if (name === 'DescribeDBInstances') return this.#complete(await forward(request))
    if (name === 'DescribeDBInstanceAutomatedBackups') return this.#describeBackups(request)
    if (name === 'DescribeDBParameters') return withSource(await forward(request))
    if (/^(Describe|List|Download)/.test(name)) return forward(request)
    return this.#alone(async () => {
      if (name === 'DeleteDBInstanceAutomatedBackup') return this.#deleteBackup(request)
      await this.#before(name, request)
      const [deleted] = name === 'DeleteDBInstance' ? await this.#instances() : []
      const response =
        name === 'RestoreDBInstanceToPointInTime'
          ? renamed(await forward(await this.#recover(request)), 'CreateDBInstance', name)
          : await forward(request)
      if (response.status >= 400) return response
      if (name === 'DeleteDBSnapshot') {
        await rm(this.#snapshot(parameter(request, 'DBSnapshotIdentifier')), { recursive: true, force: true })
      }
      if (deleted !== undefined) await this.#endBackup(request, deleted)
      if (name === 'RebootDBInstance') await this.#options.server.restart()
      await this.#tryToApply()
      await this.#keepInsights(request)
      return this.#complete(response)
    })
  }

  /**
   * Replaces the content of a managed master secret, which is the same in every emulator, by the name of the master user
   * and a password that only this box has.
   */
  async completeSecret(response: AwsResponse): Promise<AwsResponse> {
    if (response.status >= 400) return response
    const secret = JSON.parse(response.body.toString()) as { ARN: string; Name: string; VersionId: string }
    if (!secret.Name.startsWith('rds!')) return response
    const instance = (await this.#instances()).find(
      ({ MasterUserSecret }) => MasterUserSecret?.SecretArn === secret.ARN,
    )
    const password = this.#options.keys
      .secretOf(`${secret.ARN} ${secret.VersionId}`)
      .replaceAll('+', '-')
      .replaceAll('/', '_')
    const content = JSON.stringify({ username: instance?.MasterUsername ?? '', password })
    return { ...response, body: Buffer.from(JSON.stringify({ ...secret, SecretString: content })) }
  }

  /** Applies the account's instance to the server, when the account has changed or the box has started. */
  refresh(): Promise<void> {
    return this.#alone(() => this.#tryToApply())
  }

  /** What must be done before the emulator carries out a change. @throws AwsError when the box cannot carry it out. */
  async #before(name: string, request: AwsRequest): Promise<void> {
    const { server } = this.#options
    if (parameter(request, 'MasterUserPassword') !== undefined) {
      throw new AwsError(
        'invalid',
        'The box supports only instances whose master password RDS manages: use ManageMasterUserPassword.',
      )
    }
    if (/^(CreateDBInstance|RestoreDBInstance(FromDBSnapshot|ToPointInTime))$/.test(name)) {
      const [present] = await this.#instances()
      const identifier =
        parameter(request, 'DBInstanceIdentifier') ?? parameter(request, 'TargetDBInstanceIdentifier')
      if (present !== undefined && present.DBInstanceIdentifier !== identifier) {
        throw new AwsError(
          'databaseQuota',
          `The box has one PostgreSQL server, which serves the instance ${present.DBInstanceIdentifier}: delete that one first.`,
        )
      }
      const engine = parameter(request, 'Engine') ?? 'postgres'
      if (engine !== 'postgres')
        throw new AwsError('invalid', `The box supports the engine postgres, not ${engine}`)
      if (name === 'CreateDBInstance' && parameter(request, 'DBSubnetGroupName') === undefined) {
        throw new AwsError(
          'invalid',
          'The box supports only instances in a subnet group: use DBSubnetGroupName.',
        )
      }
      if (name !== 'RestoreDBInstanceFromDBSnapshot' || present !== undefined) return
      const snapshot = this.#snapshot(parameter(request, 'DBSnapshotIdentifier'))
      if (!existsSync(snapshot)) {
        throw new AwsError('noDatabaseSnapshot', `${parameter(request, 'DBSnapshotIdentifier')} not found.`)
      }
      await server.load(snapshot)
    }
    const snapshot =
      name === 'DeleteDBInstance'
        ? parameter(request, 'FinalDBSnapshotIdentifier')
        : /^(CreateDBSnapshot|StopDBInstance)$/.test(name)
          ? parameter(request, 'DBSnapshotIdentifier')
          : undefined
    if (snapshot !== undefined && !existsSync(this.#snapshot(snapshot))) {
      await server.dump(this.#snapshot(snapshot))
    }
  }

  /** Keeps the automated backup of a deleted instance, if the request says so. Its data is still in the server. */
  #endBackup(request: AwsRequest, deleted: DBInstance): Promise<void> {
    const { backups } = this.#options
    return parameter(request, 'DeleteAutomatedBackups') === 'false'
      ? backups.retain(creationParameters(deleted))
      : backups.discard()
  }

  /**
   * Restores a deleted instance to a point in time, and returns the request that creates it in the emulator, which knows
   * no deleted ones.
   */
  async #recover(request: AwsRequest): Promise<AwsRequest> {
    const { backups, server, snapshots } = this.#options
    const input = new URLSearchParams(request.body.toString())
    // The emulator refuses both: the name is in use, or there is no source.
    if ((await this.#instances()).length > 0 || !input.has('SourceDbiResourceId')) return request
    const backup = await this.#backup(input.get('SourceDbiResourceId'))
    const time = input.get('RestoreTime') ?? undefined
    if (time !== undefined && !isWithin(time, backup)) {
      throw new AwsError(
        'invalid',
        `RestoreTime must be from ${backup.from} to ${backup.until ?? 'the present'}, not ${time}.`,
      )
    }
    const recovered = join(snapshots, '.recovered')
    await backups.recover(backup, time, recovered)
    await server.load(recovered)
    await rm(recovered, { recursive: true, force: true })
    const own = ['RestoreTime', 'UseLatestRestorableTime', 'TargetDBInstanceIdentifier']
    const kept = [...input].filter(([name]) => !own.includes(name) && !name.startsWith('Source'))
    const created = new URLSearchParams({
      ...backup.instance,
      ...Object.fromEntries(kept),
      Action: 'CreateDBInstance',
      DBInstanceIdentifier: input.get('TargetDBInstanceIdentifier') ?? '',
    })
    return { ...request, body: Buffer.from(created.toString()) }
  }

  async #backup(resourceId: string | null): Promise<Backup & { until: string }> {
    const found = (await this.#options.backups.list()).find((backup) => backup.resourceId === resourceId)
    if (found === undefined) {
      throw new AwsError(
        'noAutomatedBackup',
        `There is no automated backup with the resource id ${resourceId}.`,
      )
    }
    if (found.until !== undefined) return { ...found, until: found.until }
    throw new AwsError(
      'databaseQuota',
      'The box has one PostgreSQL server, which serves the source: delete that instance with --no-delete-automated-backups first.',
    )
  }

  async #describeBackups(request: AwsRequest): Promise<AwsResponse> {
    const identifier = parameter(request, 'DBInstanceIdentifier')
    const resourceId = parameter(request, 'DbiResourceId')
    const [instance] = await this.#instances()
    const present = instance === undefined ? {} : creationParameters(instance)
    const described = (await this.#options.backups.list())
      .map((backup) => ({ instance: present, ...backup }))
      .filter((backup) => identifier === undefined || backup.instance['DBInstanceIdentifier'] === identifier)
      .filter((backup) => resourceId === undefined || backup.resourceId === resourceId)
    return backupsResponse(
      request,
      `<DBInstanceAutomatedBackups>${described.map(backupXml).join('')}</DBInstanceAutomatedBackups>`,
    )
  }

  async #deleteBackup(request: AwsRequest): Promise<AwsResponse> {
    const backup = await this.#backup(parameter(request, 'DbiResourceId') ?? null)
    await this.#options.backups.delete(backup)
    return backupsResponse(request, backupXml({ instance: {}, ...backup }))
  }

  /** The directory with a snapshot's data. Its ARN ends with its name. */
  #snapshot(name = ''): string {
    return join(this.#options.snapshots, encodeURIComponent((name.split(':').at(-1) ?? '').toLowerCase()))
  }

  async #tryToApply(): Promise<void> {
    clearTimeout(this.#retry)
    this.#isPending = true
    try {
      await this.#apply()
      this.#isPending = false
    } catch (error) {
      console.error(
        `the database is not yet what the account says: ${error instanceof Error ? error.message : error}`,
      )
      this.#retry = setTimeout(() => this.refresh(), retryDelay).unref()
    }
  }

  async #apply(): Promise<void> {
    const { server, backups, setAddress } = this.#options
    const [instance] = await this.#instances()
    if (instance === undefined) {
      await setAddress(undefined)
      return server.apply(undefined)
    }
    const host = instance.Endpoint?.Address ?? ''
    await server.apply(await this.#describe(instance, host))
    if (instance.BackupRetentionPeriod === 0) await backups.discard()
    else await backups.begin(instance.DbiResourceId ?? '')
    await setAddress({ host, subnetId: instance.DBSubnetGroup?.Subnets?.[0]?.SubnetIdentifier ?? '' })
  }

  async #describe(instance: DBInstance, host: string): Promise<Database> {
    const { MasterUsername = '', DBName, DBInstanceStatus, DBParameterGroups = [] } = instance
    return {
      host,
      masterUser: MasterUsername,
      masterPassword: await this.#masterPassword(instance),
      ...(DBName ? { name: DBName } : {}),
      forceSsl: await this.#forcesSsl(DBParameterGroups[0]?.DBParameterGroupName),
      stopped: DBInstanceStatus === 'stopped',
    }
  }

  async #masterPassword({ MasterUserSecret }: DBInstance): Promise<string> {
    if (MasterUserSecret?.SecretArn === undefined) {
      throw new Error('the box supports only instances with a managed master password')
    }
    const { SecretString = '' } = await this.#options.secretsManager.send(
      new GetSecretValueCommand({ SecretId: MasterUserSecret.SecretArn }),
    )
    return (JSON.parse(SecretString) as { password: string }).password
  }

  /** The default group of PostgreSQL 15 and later sets the parameter. */
  async #forcesSsl(DBParameterGroupName = ''): Promise<boolean> {
    const pages = paginateDescribeDBParameters({ client: this.#options.rds }, { DBParameterGroupName })
    for await (const { Parameters = [] } of pages) {
      const found = Parameters.find(({ ParameterName }) => ParameterName === 'rds.force_ssl')
      if (found !== undefined) return found.ParameterValue !== '0'
    }
    return true
  }

  async #instances(): Promise<DBInstance[]> {
    const instances: DBInstance[] = []
    for await (const page of paginateDescribeDBInstances({ client: this.#options.rds }, {})) {
      instances.push(...(page.DBInstances ?? []))
    }
    return instances
  }

  /** The emulator forgets the settings of Performance Insights, so that every plan of Terraform would differ. */
  async #keepInsights(request: AwsRequest): Promise<void> {
    const { insights } = this.#options
    const enabled = parameter(request, 'EnablePerformanceInsights')
    if (enabled === undefined) return
    const settings =
      enabled === 'true'
        ? `<PerformanceInsightsEnabled>true</PerformanceInsightsEnabled><PerformanceInsightsRetentionPeriod>${Number(parameter(request, 'PerformanceInsightsRetentionPeriod') ?? 7)}</PerformanceInsightsRetentionPeriod>`
        : ''
    await mkdir(dirname(insights), { recursive: true })
    await writeFile(`${insights}.new`, settings)
    await rename(`${insights}.new`, insights)
  }

  /** Completes the description of the instance. The emulator says that it is available at once. */
  async #complete(response: AwsResponse): Promise<AwsResponse> {
    const { insights } = this.#options
    const settings = existsSync(insights) ? await readFile(insights, 'utf8') : ''
    const body = response.body
      .toString()
      .replaceAll(
        /<PerformanceInsights(Enabled|RetentionPeriod)>[^<]*<\/PerformanceInsights\1>|<PerformanceInsights(Enabled|RetentionPeriod)\/>/g,
        '',
      )
      .replaceAll(
        /<DBInstanceStatus>(\w+)<\/DBInstanceStatus>/g,
        (_, status) =>
          `<DBInstanceStatus>${this.#isPending && status === 'available' ? 'creating' : status}</DBInstanceStatus>${settings}`,
      )
    return { ...response, body: Buffer.from(body) }
  }

  #alone<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#work.then(action)
    this.#work = result.catch(() => {})
    return result
  }
}

/** The emulator knows only parameters that a user has set, and does not say so. */
function withSource(response: AwsResponse): AwsResponse {
  const body = response.body
    .toString()
    .replaceAll('</ParameterValue>', '</ParameterValue><Source>user</Source>')
  return { ...response, body: Buffer.from(body) }
}

/** The parameters of a request that creates an instance like this one again. */
function creationParameters(instance: DBInstance): Record<string, string> {
  const { DBInstanceIdentifier, Engine, EngineVersion, MasterUsername, DBName } = instance
  const { AllocatedStorage, StorageType, StorageEncrypted, KmsKeyId } = instance
  const { BackupRetentionPeriod, PreferredBackupWindow, PreferredMaintenanceWindow } = instance
  const parameters = {
    ...{ DBInstanceIdentifier, Engine, EngineVersion, MasterUsername, DBName },
    ...{ AllocatedStorage, StorageType, StorageEncrypted, KmsKeyId },
    ...{ BackupRetentionPeriod, PreferredBackupWindow, PreferredMaintenanceWindow },
    ManageMasterUserPassword: true,
  }
  return Object.fromEntries(
    Object.entries(parameters).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]],
    ),
  )
}

function isWithin(time: string, { from, until }: Backup & { until: string }): boolean {
  return Date.parse(time) >= Date.parse(from) && Date.parse(time) <= Date.parse(until)
}

function backupXml({
  resourceId,
  from,
  until,
  instance,
}: Backup & Required<Pick<Backup, 'instance'>>): string {
  const { DBInstanceIdentifier = '', Engine = '', EngineVersion = '' } = instance
  const fields = {
    DBInstanceArn: `arn:aws:rds:${REGION}:${ACCOUNT}:db:${DBInstanceIdentifier}`,
    ...{ DbiResourceId: resourceId, Region: REGION, DBInstanceIdentifier, Engine, EngineVersion },
    Status: until === undefined ? 'active' : 'retained',
  }
  const texts = Object.entries(fields).map(([name, value]) => `<${name}>${escapeXml(value)}</${name}>`)
  const latest = until ?? new Date().toISOString()
  return `<DBInstanceAutomatedBackup>${texts.join('')}<RestoreWindow><EarliestTime>${from}</EarliestTime><LatestTime>${latest}</LatestTime></RestoreWindow></DBInstanceAutomatedBackup>`
}

function backupsResponse(request: AwsRequest, result: string): AwsResponse {
  const name = operation(request) ?? ''
  const requestId = randomUUID()
  return {
    status: 200,
    headers: { 'content-type': 'text/xml', 'x-amzn-requestid': requestId },
    body: Buffer.from(
      `<${name}Response xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><${name}Result>${result}</${name}Result><ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></${name}Response>`,
    ),
  }
}

/** A response to another operation with the same result. */
function renamed(response: AwsResponse, sent: string, name: string): AwsResponse {
  const body = response.body
    .toString()
    .replaceAll(new RegExp(`(</?)${sent}(Response|Result)`, 'g'), `$1${name}$2`)
  return { ...response, body: Buffer.from(body) }
}
