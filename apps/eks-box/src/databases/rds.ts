import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type DBInstance,
  paginateDescribeDBInstances,
  paginateDescribeDBParameters,
  type RDSClient,
} from '@aws-sdk/client-rds'
import { GetSecretValueCommand, type SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { AwsError } from '../aws/aws-error.ts'
import type { AccountKeys } from '../aws/keys.ts'
import { type AwsRequest, type AwsResponse, operation, parameter } from '../aws/request.ts'
import type { Database, PostgresServer } from './postgres-server.ts'

export interface RdsOptions {
  /** With the box's own key. */
  rds: RDSClient
  secretsManager: SecretsManagerClient
  keys: AccountKeys
  server: PostgresServer
  /** Gives the server the address of an instance in one of these subnets, or takes it away. */
  setAddress: (entry: { host: string; subnetId: string } | undefined) => Promise<void>
  /** Directory with the data of snapshots. */
  snapshots: string
}

type Forward = (request: AwsRequest) => Promise<AwsResponse>

/** Delay before another attempt after an error, in milliseconds. */
const retryDelay = 2000

/** Operations that would need a second server, or a log of all changes. */
const unsupported =
  /^(CreateDBInstanceReadReplica|RestoreDBInstanceToPointInTime|RestoreDBInstanceFromS3|CreateDBCluster|RestoreDBCluster\w*|CreateBlueGreenDeployment|CopyDBSnapshot)$/

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
      throw new AwsError(
        'invalid',
        `The box does not support ${name}: it has one PostgreSQL server without a log of changes`,
      )
    }
    if (name === 'DescribeDBInstances') return this.#withStatus(await forward(request))
    if (/^(Describe|List|Download)/.test(name)) return forward(request)
    return this.#alone(async () => {
      await this.#before(name, request)
      const response = await forward(request)
      if (response.status >= 400) return response
      if (name === 'DeleteDBSnapshot') {
        await rm(this.#snapshot(parameter(request, 'DBSnapshotIdentifier')), { recursive: true, force: true })
      }
      if (name === 'RebootDBInstance') await this.#options.server.restart()
      await this.#tryToApply()
      return this.#withStatus(response)
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
    if (name === 'CreateDBInstance' || name === 'RestoreDBInstanceFromDBSnapshot') {
      const [present] = await this.#instances()
      if (
        present !== undefined &&
        present.DBInstanceIdentifier !== parameter(request, 'DBInstanceIdentifier')
      ) {
        throw new AwsError(
          'databaseQuota',
          `The box has one PostgreSQL server, which serves the instance ${present.DBInstanceIdentifier}: delete that one first.`,
        )
      }
      const engine = parameter(request, 'Engine') ?? 'postgres'
      if (engine !== 'postgres')
        throw new AwsError('invalid', `The box supports the engine postgres, not ${engine}`)
      if (name === 'CreateDBInstance' || present !== undefined) return
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
      this.#retry = setTimeout(() => this.refresh(), retryDelay)
    }
  }

  async #apply(): Promise<void> {
    const { server, setAddress } = this.#options
    const [instance] = await this.#instances()
    if (instance === undefined) {
      await setAddress(undefined)
      return server.apply(undefined)
    }
    const host = instance.Endpoint?.Address ?? ''
    await server.apply(await this.#describe(instance, host))
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

  /** The emulator says that an instance is available at once. */
  #withStatus(response: AwsResponse): AwsResponse {
    if (!this.#isPending) return response
    const body = response.body
      .toString()
      .replaceAll('<DBInstanceStatus>available<', '<DBInstanceStatus>creating<')
    return { ...response, body: Buffer.from(body) }
  }

  #alone<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#work.then(action)
    this.#work = result.catch(() => {})
    return result
  }
}
