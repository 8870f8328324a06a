/**
 * Where the emulator answers other than AWS in a way that clients stumble over, by operation: each entry takes
 * what it answered and gives what AWS would have.
 */
export const corrections: ReadonlyMap<string, (body: string) => string> = new Map([
  /** The tags of the template itself turn up among those its instances get: a difference at every plan. */
  [
    'DescribeLaunchTemplateVersions',
    (body) =>
      body.replace(/<item><resourceType>launch-template<\/resourceType><tagSet>.*?<\/tagSet><\/item>/gs, ''),
  ],
])
