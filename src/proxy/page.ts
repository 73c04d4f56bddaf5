export const statsPage = ''
