/** An IP endpoint, or the path of a Unix socket (empty when the socket has no name). */
export type NativeAddress =
  | { address: string; port: number; family: 'IPv4' | 'IPv6'; path?: undefined }
  | { path: string; address?: undefined; port?: undefined; family?: undefined }
