/** The principal that signed a request. */
export interface Caller {
  account: string
  userId: string
  /** ARN of the user or of the role's session, as STS reports it. */
  arn: string
  /** ARN of the user or the role in IAM. */
  principalArn: string
}
