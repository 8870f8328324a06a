/** Runs in a pod: prints the pod's identity in AWS, with the default credentials and endpoint of the SDK. */
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'

async function callerIdentity(): Promise<string> {
  try {
    const { Arn = '' } = await new STSClient({ region: 'eu-central-1' }).send(
      new GetCallerIdentityCommand({}),
    )
    return Arn
  } catch (error) {
    return String(error)
  }
}

callerIdentity().then(console.log)
