/** Error types of the EKS service model, and of AWS in general, with the HTTP status of each. */
const statuses = {
  AccessDeniedException: 403,
  InvalidParameterException: 400,
  InvalidRequestException: 400,
  MissingAuthenticationTokenException: 403,
  NotFoundException: 404,
  ResourceInUseException: 409,
  ResourceLimitExceededException: 400,
  ResourceNotFoundException: 404,
  ServerException: 500,
  UnknownOperationException: 404,
} as const

export type ExceptionType = keyof typeof statuses

/** An error response of EKS; `details` are the additional fields that the service model defines for its type. */
export class EksException extends Error {
  readonly type: ExceptionType
  readonly details: Readonly<Record<string, string>>

  constructor(type: ExceptionType, message: string, details: Readonly<Record<string, string>> = {}) {
    super(message)
    this.name = type
    this.type = type
    this.details = details
  }

  get status(): number {
    return statuses[this.type]
  }
}
