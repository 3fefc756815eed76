// Uploads one file with tus-js-client and prints what happened as JSON. Arguments: one JSON object, see below.
import { createReadStream, readFileSync } from 'node:fs'
import { DefaultHttpStack, Upload } from 'tus-js-client'

const asked = JSON.parse(process.argv[2]) // endpoint, file, session, ca, identity, size, chunkSize, …
const identity = readFileSync(asked.identity)
const tls = { ca: readFileSync(asked.ca), cert: identity, key: identity, servername: asked.servername }
const say = (result) => console.log(JSON.stringify(result))
const requests = []
// With a deferred length the client sends a file's last piece shorter than it announces: there it is given the bytes.
const input = asked.deferred ? readFileSync(asked.file) : createReadStream(asked.file, { start: 0 })

const upload = new Upload(input, {
  endpoint: asked.endpoint,
  uploadUrl: asked.url ?? null,
  metadata: { session: asked.session },
  chunkSize: asked.chunkSize,
  uploadSize: asked.deferred ? null : asked.size,
  uploadLengthDeferred: asked.deferred,
  overridePatchMethod: asked.override,
  retryDelays: null,
  httpStack: new DefaultHttpStack(tls),
  onAfterResponse: (request, response) => {
    requests.push([request.getMethod(), response.getStatus(), response.getHeader('Skerry-Recording-State') ?? null])
  },
  onChunkComplete: (_size, accepted) => {
    if (asked.stopAt && accepted >= asked.stopAt) {
      upload.abort().then(() => say({ stopped: accepted, url: upload.url, requests }))
    }
  },
  onError: (error) => say({ error: error.originalResponse?.getStatus() ?? String(error), requests }),
  onSuccess: () => say({ done: true, url: upload.url, requests }),
})
upload.start()
