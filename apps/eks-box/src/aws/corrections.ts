/**
 * Corrects responses of the emulator that differ from AWS in a way that breaks clients. Each entry, by operation, turns
 * the emulator's response body into the one that AWS would send.
 */
export const corrections: ReadonlyMap<string, (body: string) => string> = new Map([
  /** moto lists the template's own tags among those of its instances, which makes every Terraform plan differ. */
  [
    'DescribeLaunchTemplateVersions',
    (body) =>
      body.replace(/<item><resourceType>launch-template<\/resourceType><tagSet>.*?<\/tagSet><\/item>/gs, ''),
  ],
])
